"""The real parts together, in one process, over TLS: what each fault, record, cloud and storage does to them."""
