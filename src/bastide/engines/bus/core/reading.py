"""From what lies in the log to events, in the newest version that is known."""

from collections.abc import Mapping

import msgspec

from bastide.base.events import Event, EventTopic
from bastide.engines.bus.core.envelopes import Envelope, Unreadable


class Reader:
    """Of one topic: the registry that its publisher's contract holds."""

    def __init__(self, topic: EventTopic) -> None:
        self._topic = topic.name
        self._decoders: Mapping[str, msgspec.json.Decoder[Event]] = {
            f"{topic.name}.{name}": msgspec.json.Decoder(event)
            for name, event in topic.by_name().items()
        }

    def event_in(self, envelope: Envelope) -> Event:
        """
        Raises:
            Unreadable: its version is unknown, or it is not as that version has it.
        """
        decoder = self._decoders.get(envelope.type)
        if decoder is None:
            known = ", ".join(sorted(self._decoders))
            raise Unreadable(f"unknown event {envelope.type!r}; known are {known}")
        try:
            return decoder.decode(envelope.data).upgraded()
        except Exception as error:  # also of `upgraded`, which is its publisher's
            raise Unreadable(f"not a valid {envelope.type}: {error!r}") from error
