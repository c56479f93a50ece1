"""A headless Chromium. Debian's packages are installed if they are missing (as root)."""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

DEADLINE_S = 20.0
DESK = (1280, 900)
PHONE = (390, 844)
PROGRAMS = ("chromium", "chromedriver")

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
)


def install() -> None:
    """Make sure that there is a Chromium. Fails loudly if there cannot be one."""
    if all(shutil.which(program) for program in PROGRAMS):
        return
    for words in (["update", "-qq"], ["install", "-y", "-qq", "chromium", "chromium-driver"]):
        done = subprocess.run(["apt-get", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"apt-get {words[0]} failed: {done.stderr[-2000:]}"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    assert not missing, f"Debian's packages have no {', '.join(missing)}"


class Browser:
    """One window, on one server; `home` is the address with the key."""

    def __init__(self, driver: Chrome, home: str) -> None:
        self.driver = driver
        self.home = home
        self.root = home.partition("/?")[0]
        self.expected = ""
        """What the browser may complain about in this test."""

    def open(self, path: str = "/") -> None:
        """Go to a page of the server."""
        self.driver.get(self.root + path)

    def size(self, size: tuple[int, int]) -> None:
        """The size of the page as a person sees it, also below the least size of a window."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600},
        )

    def theme(self, theme: str) -> None:
        """What the person's system prefers: dark or light."""
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def shot(self, file: Path) -> None:
        """A picture of the whole page."""
        script = "return [document.documentElement.scrollHeight, innerWidth]"
        height, width = self.driver.execute_script(script)
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.driver.get_screenshot_as_png())

    def find(self, selector: str) -> WebElement:
        """The first element; waits for it."""
        return self.until(lambda: next(iter(self.all(selector)), None), selector)  # type: ignore[no-any-return]

    def all(self, selector: str) -> list[WebElement]:
        """All elements there are now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "#page") -> str:
        """What a person reads there; empty if it is not there."""
        script = "return document.querySelector(arguments[0])?.innerText ?? ''"
        return str(self.driver.execute_script(script, selector))

    def script(self, script: str, *arguments: Any) -> Any:
        """Run something in the page, as a person's developer tools would."""
        return self.driver.execute_script(script, *arguments)

    def click(self, selector: str) -> None:
        """Click as soon as it is there; pages are drawn anew meanwhile."""
        script = (
            "const e = document.querySelector(arguments[0]); if (e) e.click(); return Boolean(e)"
        )
        self.until(lambda: self.driver.execute_script(script, selector), selector)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus."""
        active = self.driver.switch_to.active_element
        for key in keys:
            active.send_keys(getattr(Keys, key.upper(), key) if len(key) > 1 else key)

    def until(self, true: Callable[[], Any], what: str = "it", within_s: float = DEADLINE_S) -> Any:
        """Wait for something to hold; what it gave."""
        end = time.monotonic() + within_s
        while True:
            found = true()
            if found:
                return found
            assert time.monotonic() < end, f"{what} never came to be:\n{self.text()[:3000]}"
            time.sleep(0.02)

    def shows(self, words: str, selector: str = "#page") -> None:
        """Wait until a person can read it there."""
        self.until(lambda: words in self.text(selector), f"{words!r} in {selector}")

    def complaints(self) -> list[str]:
        """What the browser complained about since it was asked last: scripts, policy, files."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")  # type: ignore[no-untyped-call]
            if entry["level"] in ("SEVERE", "WARNING")
            and not (self.expected and self.expected in entry["message"])
        ]


@contextmanager
def browser(home: str, profile: Path) -> Iterator[Browser]:
    """A browser with a fresh profile that has shown the key."""
    install()
    options = ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={DESK[0]},{DESK[1]}"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        made = Browser(driver, home)
        made.size(DESK)
        made.theme("light")
        driver.get(home)
        yield made
    finally:
        driver.quit()
