"""The account validator: does this configuration work, and if not, what has to be changed?"""

import asyncio
import base64
import binascii
from typing import Any, Final

import orjson
from sekoia_automation.account_validator import AccountValidator
from sekoia_automation.exceptions import ModuleConfigurationError

from graph_entra.budget import Budget
from graph_entra.clouds import CLOUDS
from graph_entra.diagnosis import LICENCE_CODE, NO_CONSENT, NO_PERMISSION, Advice, advise
from graph_entra.errors import GraphEntraError, GraphRefused, PassesByItself
from graph_entra.graph import Graph
from graph_entra.module import GraphEntraModule, configuration_sentence
from graph_entra.streams import AUDITS, Stream, sign_in_stream

# The form waits: an answer comes within a minute, whatever hangs.
WHOLE_TIMEOUT_S: Final = 50.0
GRAPH_TIMEOUT_S: Final = 15.0
# A fault of the moment is worth another try, if it comes soon.
TRIES: Final = 3
LONGEST_WAIT_S: Final = 10.0
PERMISSION: Final = "AuditLog.Read.All"


class GraphEntraAccountValidator(AccountValidator):
    """Gets a token, reads its roles, one sign-in and one audit; never raises."""

    module: GraphEntraModule

    def execute(self) -> None:
        """As the SDK does; a configuration that cannot be read is an answer too."""
        try:
            self.set_task_as_running()
            success = self.validate()
        except ModuleConfigurationError as error:
            self.error(configuration_sentence(error))
            success = False
        except Exception as error:  # noqa: BLE001 - the person at the form gets an answer
            self.error(f"The platform could not be asked for the configuration: {type(error).__name__}.")
            success = False
        self.send_results(success)

    def validate(self) -> bool:
        """Whether the configuration works; if not, ``error`` has been told one sentence that says what to do."""
        try:
            sentence = self.module.missing() or asyncio.run(self._check())
        except ModuleConfigurationError as error:
            sentence = configuration_sentence(error)
        except TimeoutError:
            sentence = (
                f"Entra and Graph did not answer within {WHOLE_TIMEOUT_S:.0f} s. Check that the platform reaches them, "
                "through HTTPS_PROXY if there is one, and try again. The secret is not the reason."
            )
        except GraphEntraError as error:
            sentence = _sentence(advise(error), error)
        except Exception as error:  # noqa: BLE001 - the person at the form gets an answer
            sentence = f"The configuration could not be checked: {type(error).__name__}: {error}"
        if sentence is None:
            return True
        self.log(sentence, "error")
        self.error(sentence)
        return False

    async def _check(self) -> str | None:
        settings = self.module.configuration
        cloud = CLOUDS[settings.cloud]
        graph = Graph(
            cloud,
            settings.tenant_id,
            settings.client_id,
            settings.client_secret,
            budget=Budget(spacing_s=0.1),
            graph_timeout_s=GRAPH_TIMEOUT_S,
        )
        try:
            async with asyncio.timeout(WHOLE_TIMEOUT_S):
                roles = _roles(await graph.token())
                if PERMISSION not in roles:
                    return _sentence(NO_PERMISSION if roles else NO_CONSENT, None)
                await _ask(graph, AUDITS)
                try:
                    await _ask(graph, sign_in_stream("interactiveUser", beta_only=cloud.beta_only))
                except GraphRefused as refusal:
                    if refusal.code != LICENCE_CODE:
                        raise
                    self.log(
                        "The configuration is valid for directory audits, but sign-ins will not come: "
                        + _sentence(advise(refusal), refusal),
                        "warning",
                    )
        finally:
            await graph.close()
        return None


async def _ask(graph: Graph, stream: Stream) -> None:
    for left in reversed(range(TRIES)):
        try:
            return await graph.one(stream)
        except PassesByItself as fault:
            wait_s = 1.0 if fault.retry_after_s is None else fault.retry_after_s
            if left == 0 or wait_s > LONGEST_WAIT_S:
                raise
            await asyncio.sleep(wait_s)
    return None


def _sentence(advice: Advice, error: Exception | None) -> str:
    details = f" Details: {error}." if error is not None else ""
    return f"{advice.cause} {advice.remedy}{details}"


def _roles(token: str) -> list[str]:
    """The application permissions in an access token; none if it cannot be read, which Graph would then say."""
    try:
        payload = token.split(".")[1]
        claims: Any = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return [str(role) for role in claims.get("roles", [])]
    except (IndexError, ValueError, binascii.Error, AttributeError):
        return [PERMISSION]
