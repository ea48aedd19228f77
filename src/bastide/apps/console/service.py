"""What the console knows: the town it stands in."""

from bastide.base.manifest import TownView


class Console:
    def __init__(self, town: TownView) -> None:
        self.town = town
