"""Microsoft Entra ID sign-in logs and directory audit logs, from Microsoft Graph to a Sekoia.io intake."""
