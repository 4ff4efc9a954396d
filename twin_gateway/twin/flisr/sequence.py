"""One fault event from its trigger to the return to normal: a state machine, events in, actions out (spec 3.4 to 3.8).

It never looks at a clock and never waits: `tick` is called with the time and a view of the grid whenever something has
changed, and a few times a second. What takes time (location, plans, commands) is asked for by an action and comes back
through `located`, `planned`, `answered` and `tagged`.
"""

from __future__ import annotations

from twin_gateway.twin.flisr.course import SCHEME_ACTIVE, SCHEME_ENDED
from twin_gateway.twin.flisr.records import Location
from twin_gateway.twin.flisr.states import (
    ENDED_WELL,
    EXECUTING,
    Action,
    Answer,
    Cause,
    Locate,
    Mode,
    Offer,
    Purpose,
    State,
    StepRecord,
    Tell,
    View,
    Waiting,
)
from twin_gateway.twin.flisr.words import Words


class Sequence(Words):
    """The FLISR of one event, from its trigger to the return to normal."""

    # ---- what comes in --------------------------------------------------------------------------------------------

    def tick(self, now: float, view: View) -> list[Action]:
        """What is to be done now."""
        if self.state is State.DETECTED:
            self._collect(now, view)
        elif self.state is State.LOCATED:
            self._watch_head(now, view)
        elif self.state is State.WAIT_CONFIRM and self._stepper is None:
            self._watch_offer(now, view)
        elif self.state in EXECUTING or self._stepper is not None:
            self._execute(now, view)
        return self._take()

    def located(self, location: Location | None, text: str, now: float) -> list[Action]:
        """The location, or why there is none."""
        if self.state in (State.ABORTED, State.BLOCKED) and self.location is None:
            self.location = location  # stopped before it was known: what must not be fed is known all the same
            return []
        if self.state is not State.DETECTED:
            return []
        if location is None:
            self._block(f"no location: {text}", now)
            return self._take()
        self.location = location
        self._enter(State.LOCATED, text, now)
        self._tell(f"Located: {text}", 800)
        for address in location.implausible:
            self._actions.append(Tell(f"FpiImplausible({address}): it contradicts the others", 600, "F01", address))
        if self.mode is Mode.MONITOR or self.trigger.cause is Cause.EARTH_FAULT:
            return self._take()
        self._ask_plan(Purpose.FAULT)
        return self._take()

    def planned(self, offer: Offer | None, text: str, now: float) -> list[Action]:
        """A plan that had been asked for, or why there is none."""
        self._planning = False
        if self.state in (State.IDLE, State.ABORTED) or self.state in EXECUTING:
            return []
        if offer is None:
            self._block(f"no plan: {text}", now)
            return self._take()
        renewed = self.state is State.WAIT_CONFIRM
        if renewed and self._expired and self.offer is not None:
            self._tell(f"Plan {self.offer.id}, which had expired, is replaced by plan {offer.id}", 600)
        self.offer, self._offered_at, self._expired = offer, now, False
        self._enter(State.PLANNED, text, now)
        if not renewed:
            self._tell(f"Planned: {text}", 800)
        if not offer.plan.steps:
            self._nothing_to_do(offer, now)
            return self._take()
        refusals = self._auto_refusals(offer)
        if self.mode is Mode.AUTO and not refusals:
            self._start(offer, now)
            return self._take()
        self.degraded = "; ".join(refusals) if self.mode is Mode.AUTO else ""
        self._wait(f"plan {offer.id} waits for confirmation" + (f" ({self.degraded})" if self.degraded else ""), now)
        return self._take()

    def answered(self, request: str, answer: Answer, now: float) -> list[Action]:
        """The command desk's answer to an `Operate`."""
        if self._reopening is not None and request.endswith(":reopen"):
            self._reopened(answer, now)
        elif self._stepper is not None:
            failure = self._stepper.answered(answer, now)
            if failure is not None:
                self._failed(failure, now)
        return self._take()

    def tagged(self, ok: bool, text: str, now: float) -> list[Action]:
        """The FLISR tags stand, or could not be set."""
        if self.state is State.ISOLATED:
            if ok:
                self._tags_put = True
            else:
                self._block(f"the isolating switches could not be tagged: {text}", now)
        return self._take()

    def tripped(self, feeder: str, now: float) -> list[Action]:
        """A trip, or an opening nobody asked for, of some feeder, later than the one that began this event.

        Soon after a closing that the feeder feeds it means closed onto a fault, else a second fault.
        """
        active = self.state in EXECUTING or self._stepper is not None
        recent = {
            switch: zone
            for switch, (zone, sent, feeding) in self._targets.items()
            if feeder in feeding and now - sent <= self.times.onto_fault + self.times.settle
        }
        offer = self.offer
        if offer is None or feeder not in {*offer.involved, self.trigger.feeder}:
            return []
        if not active and not (self.state in ENDED_WELL and recent):
            return []
        if recent:
            switch = next(reversed(recent))
            self._closed_onto_fault(switch, recent[switch], now)
        else:
            self._abort(f"second fault: {feeder} tripped", now)
        return self._take()

    def supersede(self, event: str, now: float) -> list[Action]:
        """A later event of the same feeder takes over, with what is known of this one's fault."""
        self._stepper = None
        self._enter(State.IDLE, f"taken over by {event}", now)
        self._actions.append(Waiting(False))
        return self._take()

    def begin_repair(self, text: str, now: float) -> list[Action]:
        """People work at the fault: the event waits for their return."""
        if self.state in (State.RESTORED, State.PARTIAL):
            self._enter(State.REPAIR, text, now)
        return self._take()

    def resume_blocked(self, done: list[StepRecord], now: float) -> list[Action]:
        """After a restart of the gateway in the middle: blocked, with what had been done; never goes on by itself."""
        self.history = done
        self._block("restart of the gateway in the middle of a sequence", now, "restart")
        if self.location is None and self.trigger.cause is not Cause.BUSBAR:
            self._actions.append(Locate())
        return self._take()

    # ---- before the plan ------------------------------------------------------------------------------------------

    def _collect(self, now: float, view: View) -> None:
        if self._located_asked:
            return
        waited = now - self._begin
        scheme = view.scheme(self.trigger.feeder)
        if scheme == SCHEME_ACTIVE and waited < self.times.handover:
            self.reason = "a distributed scheme is at work"
            return
        if self.trigger.cause is Cause.BUSBAR:
            self._block("busbar or transformer protection has operated: no restoration from this busbar", now)
            return
        self._scheme_before = scheme
        settled = scheme in SCHEME_ENDED
        if waited >= self.times.local + (0.0 if settled else self.times.collect):
            self._located_asked = True
            self._actions.append(Locate())

    def _watch_head(self, now: float, view: View) -> None:
        """What is only watched is over when others have closed the breaker again (or the earth fault is off)."""
        if self._planning or self.trigger.cause is Cause.EARTH_FAULT:
            return
        if view.head_closed(self.trigger.feeder) is not True:
            self._closed_since = None
            return
        self._closed_since = now if self._closed_since is None else self._closed_since
        if now - self._closed_since >= self.times.over:
            self._enter(State.IDLE, "supply was restored by others", now)

    def earth_fault_over(self, now: float) -> list[Action]:
        """The standing earth fault is gone."""
        if self.trigger.cause is Cause.EARTH_FAULT and self.state in (State.DETECTED, State.LOCATED):
            self._enter(State.IDLE, "the earth fault is gone", now)
        return self._take()

    def _watch_offer(self, now: float, view: View) -> None:
        offer = self.offer
        if offer is None or self._planning:
            return
        if view.fingerprint(self.trigger.feeder) != offer.fingerprint:
            self._tell("The plan was made from what has changed; a new one is being made", 600)
            self._ask_plan(offer.purpose)
        elif not self._expired and now - self._offered_at > self.times.confirm:
            self._expired = True
            self.reason = f"the offer has expired after {self.times.confirm:g} s; confirming it makes a new one"
            self._tell(f"Plan {offer.id} has expired after {self.times.confirm:g} s", 600)

    def _auto_refusals(self, offer: Offer) -> list[str]:
        """Why a plan may not run without a person, though the feeder is automatic."""
        refusals = list(offer.auto_refusals)
        if self.trigger.advise_only:
            refusals.append(f"a person must decide: {self.trigger.text}")
        if self.trigger.cause not in (Cause.TRIP, Cause.LOSS):
            refusals.append(f"the event began with: {self.trigger.cause}")
        if offer.purpose is Purpose.RETURN:
            refusals.append("the return to normal is always confirmed")
        if self.location is not None and not self.location.auto_ok:
            refusals.append(f"{len(self.location.candidates)} zones may be faulted")
        if not offer.plan.auto_ok:
            refusals.append("; ".join(offer.plan.warnings) or "the plan needs a person's judgement")
        return refusals

    def _nothing_to_do(self, offer: Offer, now: float) -> None:
        if offer.purpose is Purpose.RETURN:
            self._returned(offer, now)
        else:
            self._report(offer, now)
