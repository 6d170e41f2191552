"""Tools of tests, called with the surroundings of a step."""

from typing import Any

from dataflare.context import Context
from dataflare.drive import ToolDriver, driver_for
from dataflare.split import Resume

TOKEN = "s3cr3t-token"
HTTP = {"host": "api.example", "networks": ["127.0.0.0/8"]}
SECRET = {"name": "acme", "inject": "http-header:Authorization@api.example"}


def called(components: dict[str, Any], name: str, ctx: Context, /, **given: Any) -> Any:
    """What a tool answers."""
    driver = driver_for(components[f"tool:{name}"](), ctx)
    assert isinstance(driver, ToolDriver)
    driver.open(Resume())
    try:
        return list(driver.call(given))[-1][1]
    finally:
        driver.close()
