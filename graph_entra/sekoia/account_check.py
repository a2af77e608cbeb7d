"""The account check: does this configuration work, and if not, what has to be changed?

The person at the form sees one thing of ours: the text that goes with a check that failed. The SDK's ``log`` reaches
standard output and Sentry only, so a check that succeeds cannot warn. That is why a tenant whose audits can be read and
whose sign-ins cannot fails the check, with a sentence that says what works and what does not.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from threading import Event
from typing import Any, Final, TypeVar

import requests
from sekoia_automation.account_validator import AccountValidator
from sekoia_automation.exceptions import ModuleConfigurationError, SendEventError

from graph_entra.clock import Clock, SystemClock
from graph_entra.errors import CredentialRejected, GraphEntraError, GraphRefused, PassesByItself
from graph_entra.microsoft import network
from graph_entra.microsoft.clouds import CLOUDS, Cloud
from graph_entra.microsoft.graph import Graph
from graph_entra.microsoft.login import Login
from graph_entra.microsoft.rate_limit import RateLimiter
from graph_entra.microsoft.tenant_cloud import home_clouds
from graph_entra.reading.graph_clock import GraphClock
from graph_entra.sekoia.configuration import configuration_sentence
from graph_entra.sekoia.library_output import quiet_libraries
from graph_entra.sekoia.module import GraphEntraModule, GraphEntraModuleConfiguration
from graph_entra.streams import AUDITS, sign_in_stream
from graph_entra.telling.diagnosis import (
    LICENCE_CODE,
    NO_CONSENT,
    NO_PERMISSION,
    NO_TENANT,
    OTHER_CLOUD,
    SWAPPED,
    UNKNOWN_TENANT_CODE,
    Advice,
    advise,
)

# The form waits: an answer comes within a minute, whatever hangs. The check ends so long after the start, and the
# platform is told twice, in two tries of so long each.
CHECK_S: Final = 40.0
CALLBACK_TIMEOUT_S: Final = 8.0
GRAPH_TIMEOUT_S: Final = 15.0
# A fault of the moment is worth another try, if both come soon.
TRIES: Final = 3
WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 10.0
PERMISSION: Final = "AuditLog.Read.All"

T = TypeVar("T")


class GraphEntraAccountValidator(AccountValidator):
    """Gets a token, reads its roles, one audit and one sign-in; never raises."""

    module: GraphEntraModule
    clock: Clock = SystemClock()
    _began_s: float | None = None

    def execute(self) -> None:
        """As the SDK does; a configuration that cannot be read is an answer too."""
        self._began_s = self.clock.monotonic()
        quiet_libraries()
        try:
            self.set_task_as_running()
            success = self.validate()
        except ModuleConfigurationError as error:
            success = self._invalid(configuration_sentence(error))
        except (KeyError, AttributeError, TypeError):
            success = self._invalid("The platform did not hand over the configuration. Save the account once more.")
        except Exception as error:  # noqa: BLE001 - the person at the form gets an answer
            success = self._invalid(f"The platform could not be asked for the configuration: {_named(error)}.")
        try:
            self.send_results(success)
        except Exception as error:  # noqa: BLE001 - nobody is left to be told
            self.log(f"The platform could not be told the result: {_named(error)}.", "error")

    def validate(self) -> bool:
        """Whether the configuration works; if not, ``error`` has been told one sentence that says what to do."""
        try:
            sentence = self.module.missing() or network.settle() or _run(self._check())
        except ModuleConfigurationError as error:
            sentence = configuration_sentence(error)
        except TimeoutError:
            sentence = (
                f"Entra and Graph did not answer within {CHECK_S:.0f} s. Check that both can be reached from here, "
                "through HTTPS_PROXY if there is one, and try again. The secret is not the reason."
            )
        except GraphEntraError as error:
            sentence = _sentence(advise(error), error)
        except Exception as error:  # noqa: BLE001 - the person at the form gets an answer
            sentence = f"The configuration could not be checked: {_named(error)}."
        return sentence is None or self._invalid(sentence)

    def _invalid(self, sentence: str) -> bool:
        self.log(sentence, "error")
        self.error(sentence)
        return False

    def _send_request(self, data: dict[str, Any], verb: str = "POST", attempt: int = 2) -> requests.Response:
        """As the SDK does, whose own patience is 17 minutes."""
        try:
            response = requests.request(
                verb, self.callback_url, json=data, headers=self._headers, timeout=CALLBACK_TIMEOUT_S
            )
            response.raise_for_status()
        except requests.RequestException as error:
            status = error.response.status_code if error.response is not None else 0
            if attempt <= 1 or 400 <= status < 500:
                # `from None`: the request holds the platform's token.
                raise SendEventError("The platform does not take the call", status_code=status) from None
            self.clock.wait(Event(), 1.0)
            return self._send_request(data, verb, attempt - 1)
        return response

    async def _check(self) -> str | None:
        settings = self.module.configuration
        cloud = CLOUDS[settings.cloud]
        # A wrong clock of this machine's does not make a certificate's statement wrong.
        graph_clock = GraphClock(self.clock)
        login = Login(
            cloud,
            settings.tenant_id,
            settings.client_id,
            self.module.credential(),
            graph_time=graph_clock.now_s,
            on_date=graph_clock.seen,
        )
        graph = Graph(
            cloud,
            login,
            settings.client_id,
            rate_limiter=RateLimiter(self.clock, spacing_s=0.1),
            clock=self.clock,
            longest_answer_s=GRAPH_TIMEOUT_S,
        )
        passed_s = self.clock.monotonic() - self._began_s if self._began_s is not None else 0.0
        try:
            async with asyncio.timeout(max(0.0, CHECK_S - passed_s)):
                try:
                    return await self._ask(graph, cloud)
                except CredentialRejected as rejection:
                    if rejection.code != UNKNOWN_TENANT_CODE:
                        raise
                    return _sentence(await _where_is(settings, cloud, advise(rejection)), rejection)
        finally:
            await graph.close()

    async def _ask(self, graph: Graph, cloud: Cloud) -> str | None:
        roles = (await self._patiently(graph.token)).roles
        try:
            await self._patiently(lambda: graph.one(AUDITS))
        except GraphRefused as refusal:
            # Graph's word counts; the token's only says why.
            if refusal.status != 403 or roles is None or PERMISSION in roles:
                raise
            return _sentence(NO_PERMISSION if roles else NO_CONSENT, refusal)
        try:
            await self._patiently(lambda: graph.one(sign_in_stream("interactiveUser", beta_only=cloud.beta_only)))
        except GraphRefused as refusal:
            return f"Directory audits can be read, sign-ins cannot. {_sentence(advise(refusal), refusal)}"
        return None

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, and after a fault of the moment ask again, as long as that takes seconds only.

        The answer that the tenant has no licence is such a fault at times.
        """
        started_s = self.clock.monotonic()
        left = TRIES
        while True:
            left -= 1
            try:
                return await ask()
            except (PassesByItself, GraphRefused) as fault:
                if isinstance(fault, GraphRefused) and fault.code != LICENCE_CODE:
                    raise
                asked_s = None if isinstance(fault, GraphRefused) else fault.retry_after_s
                wait_s = WAIT_S if asked_s is None else asked_s
                if left == 0 or self.clock.monotonic() - started_s + wait_s > LONGEST_WAIT_S:
                    raise
                await self.clock.sleep(wait_s)


async def _where_is(settings: GraphEntraModuleConfiguration, cloud: Cloud, otherwise: Advice) -> Advice:
    """Whether the tenant's id is wrong or the cloud, which the cloud's own login does not tell apart."""
    homes = await home_clouds(settings.tenant_id)
    if homes is None or cloud.name in homes:
        return otherwise
    if not homes:
        return SWAPPED if await home_clouds(settings.client_id) else NO_TENANT
    return replace(OTHER_CLOUD, cause=f"{OTHER_CLOUD.cause[:-1]}: {' or '.join(homes)}, not {cloud.name}.")


def _run(check: Coroutine[Any, Any, T]) -> T:
    """As ``asyncio.run``, which waits for threads, and a name that no DNS server answers for holds one for long."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(check)
    finally:
        loop.close()


def _sentence(advice: Advice, error: Exception) -> str:
    return f"{advice.cause} {advice.remedy} Details: {str(error).rstrip('.')}."


def _named(error: Exception) -> str:
    if isinstance(error, SendEventError):
        return f"it answered {error.status_code}" if error.status_code else "it did not answer"
    return type(error).__name__
