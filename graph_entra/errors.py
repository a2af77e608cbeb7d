"""Everything that can go wrong, split by who can mend it. No other source says it differently.

GraphEntraError
├── PersonMustAct           no retry mends it by itself: the log names the remedy (telling/diagnosis.py)
│   ├── CredentialRejected    Entra refuses the app, its secret or the tenant (``AADSTS`` code); critical when it lasts
│   ├── CertificateUntrusted  a proxy opens TLS, and its authority is not known here; critical only if it never worked
│   ├── GraphRefused          Graph answers 400, 401, 403 or 404 to a well-formed question (Graph error code)
│   └── IntakeRefused         the Sekoia intake refuses the push (invalid key, ...)
├── PassesByItself          tried again, with back-off, until it passes or the connector is told to stop
│   ├── Throttled             429, from Graph
│   ├── GraphUnavailable      5xx, an HTML page, broken JSON, a time-out or a reset, from Graph
│   │   └── WindowTooWide     504 or a time-out: a shorter window may be answered
│   ├── PagingBroken          a page's nextLink expired, repeats itself or leaves the cloud: ask again from there
│   ├── TokenRefused          401: the access token was refused, a new one is fetched
│   ├── LoginUnavailable      no token could be fetched: the network, or Entra itself
│   ├── ProxyInTheWay         the proxy to Microsoft cannot be reached, or refuses to connect
│   └── IntakeUnavailable     5xx, 429, a reset, or an answer that is not the intake's
│       └── IntakeTimedOut    no whole answer in time: the push may have been stored, and less may be answered
└── StorageFailed           the data path cannot be read or written; tried again, nothing is dropped meanwhile
    └── DataPathInUse       another process works on it: a person must stop one of the two
"""

from __future__ import annotations

from typing import ClassVar, Literal

# When the log may call a problem critical, at which the platform stops the connector.
Critical = Literal["when it lasts", "if it never worked", "never"]


class GraphEntraError(Exception):
    """Anything this module raises on purpose. Its text is safe to log: no secret, token, key or nextLink.

    Attributes:
        kind: what it is called in the figures (``graph_entra_problems_open``).
        critical: when the log may call it critical.
    """

    kind: ClassVar[str] = "unexpected"
    critical: ClassVar[Critical] = "never"


class PersonMustAct(GraphEntraError):
    """A person has to change something; until then nothing is dropped and it is tried again, seldom."""


class CredentialRejected(PersonMustAct):
    """Entra answered the token request with an error that concerns the app, its secret or the tenant.

    Attributes:
        code: the number behind ``AADSTS`` (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
        secret_is_guid: the secret looks like the id of a secret, which is a GUID, and not like its value.
        sentence: the first sentence of Entra's own text, without ids; empty if it gave none.
        thumbprint: of the certificate that was used, as the portal shows it; empty if it was a secret.
    """

    kind = "login"
    critical = "when it lasts"

    def __init__(self, code: int, *, secret_is_guid: bool = False, sentence: str = "", thumbprint: str = "") -> None:
        used = f" with the certificate of thumbprint {thumbprint}" if thumbprint else ""
        super().__init__(f"Entra refused to sign the application in{used} (AADSTS{code})")
        self.code = code
        self.secret_is_guid = secret_is_guid
        self.sentence = sentence
        self.thumbprint = thumbprint


class CertificateUntrusted(PersonMustAct):
    """What was shown in place of Microsoft's certificate is signed by an authority that is not known here.

    A person must act, at the proxy or in ``SSL_CERT_FILE``; but a proxy's slip of an hour ends by itself.
    """

    kind = "certificate"
    critical = "if it never worked"


class GraphRefused(PersonMustAct):
    """Graph refused a question.

    Attributes:
        status: the HTTP status, 400 to 499.
        code: Graph's own error code, such as ``Authentication_MSGraphPermissionMissing``; empty if it gave none.
        detail: the first 300 characters of Graph's message.
    """

    kind = "graph"

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"Graph answered {status} {code}: {detail}" if detail else f"Graph answered {status} {code}")
        self.status = status
        self.code = code
        self.detail = detail


class IntakeRefused(PersonMustAct):
    """The intake answered with a 4xx status that no retry mends.

    Attributes:
        status: the HTTP status.
    """

    kind = "intake"

    def __init__(self, status: int) -> None:
        super().__init__(f"the intake answered {status}")
        self.status = status


class PassesByItself(GraphEntraError):
    """A fault of the moment.

    Attributes:
        retry_after_s: how long the other side asked us to wait, in seconds; None if it did not say.
    """

    kind = "graph"

    def __init__(self, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Throttled(PassesByItself):
    """Graph answered 429: more requests than it grants this app, ours or another's."""

    kind = "throttled"


class GraphUnavailable(PassesByItself):
    """Graph did not answer, or not with a page."""


class WindowTooWide(GraphUnavailable):
    """Graph took too long: it often answers a shorter stretch of time."""


class PagingBroken(PassesByItself):
    """A chain of pages cannot be followed any further; what was delivered of it stays delivered."""


class TokenRefused(PassesByItself):
    """Graph answered 401 to an access token that Entra had issued."""


class LoginUnavailable(PassesByItself):
    """No access token could be fetched, for a reason that is not the credential's fault."""

    kind = "login"


class ProxyInTheWay(PassesByItself):
    """The proxy on the way to Microsoft cannot be reached, or refuses to connect."""

    kind = "proxy"


class IntakeUnavailable(PassesByItself):
    """The intake did not acknowledge a push.

    Attributes:
        host: which host was asked and did not answer; None if it answered.
        status: what it answered; 0 if it did not.
        next_try_s: seconds until the same is pushed again.
    """

    kind = "intake"

    def __init__(
        self, text: str, retry_after_s: float | None = None, *, host: str | None = None, status: int = 0
    ) -> None:
        super().__init__(text, retry_after_s)
        self.host = host
        self.status = status
        self.next_try_s = 0.0


class IntakeTimedOut(IntakeUnavailable):
    """The intake did not answer in time; it may have stored the push."""


class StorageFailed(GraphEntraError):
    """The data path could not be read or written."""

    kind = "storage"


class DataPathInUse(StorageFailed):
    """Another process works on the same data path."""
