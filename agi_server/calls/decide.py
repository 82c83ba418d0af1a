"""One question, one answer: every way in asks `decide`, no way in decides.

Invariant: `decide` and `decide_outgoing` return for any call and any directory. A stage that fails becomes a
trace step `error`, the call goes on with what is known so far, and only a rule that says block blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agi_server.calls.call import Call, Decision, Direction, Rung, TraceStep, Verdict
from agi_server.calls.directory import Directory, Rule, Treatment
from agi_server.calls.identify import NOBODY, Match, identify, is_named
from agi_server.calls.naming import give_name, trunk_name
from agi_server.calls.numbers import Number, NumberState, normalise
from agi_server.calls.policy import DidPolicy, Policy
from agi_server.calls.reformatting import reformat
from agi_server.calls.routing import Route, find_route, treat
from agi_server.calls.screening import scope_of, screen
from agi_server.errors import DirectoryError

_NO_POLICY = Policy(default=DidPolicy(screening=False))  # without it nobody knows whether the DID is screened
_NO_ROUTE = Route()
_NO_NUMBER = Number(NumberState.ANONYMOUS)
_REASONS = {
    Rung.EXACT: "known",
    Rung.SWITCHBOARD: "switchboard",
    Rung.TAIL: "tail",
    Rung.EXTENSION: "extension",
    Rung.ANONYMOUS: "anonymous",
    Rung.NONE: "unknown",
}
_ANONYMOUS = Match(Rung.ANONYMOUS, TraceStep("match", "off", "identification is off for this DID"))
_NOT_ASKED = Match(Rung.NONE, TraceStep("match", "off", "identification is off for this DID"))
_SCREENING_OFF = TraceStep("screen", "off", "screening is off for this DID")
_NAMING_OFF = TraceStep("name", "off", "naming is off for this DID: what the trunk sent")


@dataclass(slots=True)
class _Case:
    """One call on its way through the stages; each stage puts down what it found out."""

    call: Call
    directory: Directory
    now: float
    steps: list[TraceStep]
    policy: Policy = _NO_POLICY
    did: DidPolicy = _NO_POLICY.default
    number: Number = _NO_NUMBER
    match: Match = NOBODY
    identified: bool = True  # False: could not be asked, so that the caller may be a contact


def decide(call: Call, directory: Directory, now: float) -> Decision:
    """Decide an inbound call at `now` (seconds since 1970); never raises."""
    case = _Case(call, directory, now, [])
    _read_policy(case)
    _read_number(case)
    _identify(case)
    rule = _screen(case)
    display_name = _name(case)
    blocked = rule is not None and not rule.allow
    treatment, route = "", _NO_ROUTE
    if rule is not None and blocked:
        treatment, route = _treat(case, rule)
    elif case.did.routing:
        route = _route(case)
    match = case.match
    return Decision(
        call=call,
        number=case.number,
        verdict=Verdict.BLOCK if blocked else Verdict.ALLOW,
        reason=_reason(case, rule),
        rung=match.rung,
        contact=match.contact,
        ambiguous=match.ambiguous,
        company=match.company,
        display_name=display_name,
        rule=rule,
        treatment=treatment,
        route=route.route,
        route_type=route.route_type,
        ring_seconds=route.ring_seconds,
        fallback=route.fallback,
        agent=route.agent,
        create_contact=case.did.create_contacts and not blocked and _is_new(case),
        trace=tuple(case.steps),
    )


def decide_outgoing(call: Call, directory: Directory, now: float) -> Decision:
    """Return who is being called (`call.number`, by `call.extension`); never raises, blocks or routes.

    `display_name` is the callee's, '' where nobody is known; `agent` is the one who dials.
    """
    asked = replace(call, direction=Direction.OUTBOUND, name="", presentation=0)  # those are the caller's own
    case = _Case(asked, directory, now, [])
    _read_policy(case)
    _read_number(case)
    _identify(case)
    match = case.match
    found = match.shown is not None or match.agent is not None
    return Decision(
        call=call,
        number=case.number,
        reason=_reason(case, None),
        rung=match.rung,
        contact=match.contact,
        ambiguous=match.ambiguous,
        company=match.company,
        display_name=_name(case) if found else "",
        agent=case.policy.by_extension.get(call.extension),
        trace=tuple(case.steps),
    )


def caller_number(call: Call, directory: Directory) -> Number:
    """Return the caller's number as `decide` reads it: reformatted, of the DID's region; never raises."""
    case = _Case(call, directory, 0.0, [])
    _read_policy(case)
    _read_number(case)
    return case.number


def _failed(stage: str, error: Exception) -> TraceStep:
    """Return the step of a stage that failed; only our own errors are known to hold no personal data."""
    if isinstance(error, DirectoryError):
        return TraceStep("error", stage, str(error))
    return TraceStep("error", stage, type(error).__name__, str(error))


def _read_policy(case: _Case) -> None:
    try:
        policy = case.directory.policy()
        did = policy.default
        if policy.dids and case.call.did:
            did = policy.dids.get(scope_of(case.call.did), did)
    except Exception as error:  # noqa: BLE001  # fail open
        case.steps.append(_failed("policy", error))
    else:
        case.policy, case.did = policy, did


def _read_number(case: _Case) -> None:
    call, policy = case.call, case.policy
    text = call.number
    try:
        if policy.reformat:
            text = reformat(
                policy.reformat, number=text, direction=call.direction, trunk=call.trunk, did=call.did
            )
            if text != call.number:
                case.steps.append(TraceStep("number", "reformatted", "by a reformatting rule", text))
        number = normalise(
            text,
            case.did.region,
            name=call.name,
            presentation=call.presentation,
            use_restricted=policy.use_restricted,
        )
    except Exception as error:  # noqa: BLE001  # fail open
        # Without a number the caller looks anonymous, and a rule against those must not meet him for it.
        case.did = replace(case.did, screening=False)
        case.steps.append(_failed("number", error))
    else:
        case.number = number
        case.steps.append(TraceStep("number", number.state.value, "", number.text))


def _identify(case: _Case) -> None:
    try:
        if case.did.identify:
            case.match = identify(case.number, case.call.presentation, case.policy, case.directory)
        else:
            case.match = _ANONYMOUS if case.number.state is NumberState.ANONYMOUS else _NOT_ASKED
    except Exception as error:  # noqa: BLE001  # fail open
        case.identified = False
        case.steps.append(_failed("match", error))
    else:
        case.steps.append(case.match.step)


def _is_new(case: _Case) -> bool:
    """Return whether the caller is known to be unknown, and has a number to be known by."""
    return case.did.identify and case.identified and case.match.rung is Rung.NONE and case.number.digits != ""


def _screen(case: _Case) -> Rule | None:
    """Return the rule that decides, if any does."""
    if not case.did.screening:
        case.steps.append(_SCREENING_OFF)
        return None
    shown = case.match.shown
    known = case.policy.known_bypass and (
        not case.identified or (shown is not None and is_named(shown, case.number))
    )
    try:
        screened = screen(
            case.number, case.call.did, case.directory, book=case.policy.rules, now=case.now, known=known
        )
    except Exception as error:  # noqa: BLE001  # fail open
        case.steps.append(_failed("screen", error))
        return None
    case.steps.append(screened.step)
    return screened.rule


def _name(case: _Case) -> str:
    sent = ""
    try:
        sent = trunk_name(case.call, case.policy)
        if not case.did.naming:
            case.steps.append(_NAMING_OFF)
            return sent
        name, step = give_name(case.call, case.number, case.match, case.policy, did=case.did, sent=sent)
    except Exception as error:  # noqa: BLE001  # fail open
        case.steps.append(_failed("name", error))
        return sent
    case.steps.append(step)
    return name


def _treat(case: _Case, rule: Rule) -> tuple[str, Route]:
    try:
        return treat(rule, case.policy, case.steps)
    except Exception as error:  # noqa: BLE001  # the rule says block, so the call ends, if less politely
        case.steps.append(_failed("route", error))
        return Treatment.HANGUP.value, _NO_ROUTE


def _route(case: _Case) -> Route:
    try:
        return find_route(
            case.number,
            case.match,
            case.policy,
            did=case.did,
            directory=case.directory,
            now=case.now,
            steps=case.steps,
        )
    except Exception as error:  # noqa: BLE001  # fail open
        case.steps.append(_failed("route", error))
        return _NO_ROUTE


def _reason(case: _Case, rule: Rule | None) -> str:
    """Return the one token for it all: a block first, then an error, then who is calling."""
    if rule is not None and not rule.allow:
        return f"blacklist-{rule.kind.value}"
    for step in case.steps:
        if step.stage == "error":
            return "error"
    if rule is not None:
        return "allow-list"
    return "ambiguous" if case.match.ambiguous else _REASONS[case.match.rung]
