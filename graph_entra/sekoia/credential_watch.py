"""Once a day: when does what the application proves itself with end, and has that to be told?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from graph_entra.clock import Clock
from graph_entra.microsoft.certificate import ClientCertificate
from graph_entra.microsoft.graph import Graph
from graph_entra.microsoft.login import ClientSecret
from graph_entra.microsoft.secret_expiry import Warnings, ends_s, until_next_s
from graph_entra.streams import DAY_S
from graph_entra.telling import metrics

# After the first polls, which are more urgent.
FIRST_AFTER_S: Final = 5.0


async def watch(
    graph: Graph,
    credential: ClientSecret | ClientCertificate,
    *,
    clock: Clock,
    now_s: Callable[[], float],
    warn: Callable[[str], None],
) -> None:
    """Watch, for ever. A certificate says itself when it ends; a secret's end is Graph's to tell, if we may ask.

    Args:
        graph: asked for the application's own secrets.
        credential: what it proves itself with.
        clock: the time, for the waits.
        now_s: Graph's clock.
        warn: writes a warning.
    """
    warnings = Warnings()
    while True:
        await clock.sleep(FIRST_AFTER_S)
        if isinstance(credential, ClientCertificate):
            end_s: float | None = credential.ends_s
        else:
            end_s = ends_s(await graph.password_credentials(), credential.hint, now_s())
        next_s = float(DAY_S)
        if end_s is not None:
            metrics.credential_end("certificate" if isinstance(credential, ClientCertificate) else "secret", end_s)
            warning = warnings.due(credential.thumbprint, end_s, now_s())
            if warning is not None:
                warn(warning)
            next_s = min(next_s, until_next_s(end_s, now_s()))
        await clock.sleep(max(0.0, next_s - FIRST_AFTER_S))
