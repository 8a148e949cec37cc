"""Build hook: firmware/ and boards/ go into the wheel as data of the package, so that an installed bongsu has them."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

RESOURCES = ("firmware", "boards")


class Resources(BuildHookInterface[Any]):
    """Adds the resource folders to a wheel, and to it only.

    An editable install finds them in the checkout; a folder bongsu/ without code in site-packages would hide the
    package there.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version`: "standard" or "editable", hatchling's word for the kind of wheel."""
        if version != "editable":
            build_data["force_include"].update({name: f"bongsu/_resources/{name}" for name in RESOURCES})
