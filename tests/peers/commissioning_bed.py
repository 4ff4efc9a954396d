"""A small field of all four protocols, its gateway, and the command line in its folder."""

from __future__ import annotations

import json
from typing import Any

from click.testing import Result
from peers.acceptance.feeder import BAY61850, Feeder
from peers.waiting import wait_until
from typer.testing import CliRunner

from twin_gateway.cli import app
from twin_gateway.control import ControlError, ask
from twin_gateway.security.users import User, save_users

PASSWORD = "a long password"
HASH = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$DOXMV7GF2cXkikztDLe2tA"
"""Of the password, with the least parameters: it is asked for very often here."""
USERS = {
    "ines": ("Installer", "Operator"),
    "ivan": ("Installer",),
    "erik": ("Engineer",),
    "eva": ("Installer", "Engineer"),
    "otto": ("Observer",),
}
PLAIN = "at: {MV1/F07: {use: feeder-bay-61850}}"
MODE = """\
at:
      MV1/F07:
        use: feeder-bay-61850
        points:
          QA1/CSWI1/Beh: {ref: LD0/CSWI1.Beh}"""


class Bed:
    """The field, its gateway, and the command line in its folder."""

    def __init__(self, feeder: Feeder) -> None:
        self.feeder = feeder
        self.folder = feeder.folder
        self.station = self.folder / "station.yaml"
        self._token = ""

    def write(self) -> None:
        """The mapping with a mode point, the configuration without a broker, and the users."""
        self.station.write_text(self.station.read_text().replace(PLAIN, MODE))
        config = self.folder / "gateway.yaml"
        # Here one command follows another without a person in between.
        text = config.read_text().replace("min_interval: 0.2", "min_interval: 0")
        lines = [line for line in text.splitlines() if not line.startswith("mqtt:")]
        config.write_text("\n".join([*lines, "history: {enabled: false}", ""]))
        users = {name: User(password=HASH, roles=roles) for name, roles in USERS.items()}
        save_users(self.folder / "users.yaml", users)

    def run(self, *arguments: str, said: str = "") -> Result:
        """One command of the command line; `said` is typed."""
        found: Result = CliRunner().invoke(app, list(arguments), input=said)
        assert found.exception is None or isinstance(found.exception, SystemExit), found.exception
        return found

    def live(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """`check --live --json`: exit code and document."""
        found = self.run("check", "--live", "--json", *arguments)
        assert found.exit_code != 1, found.stderr
        return found.exit_code, json.loads(found.stdout)

    def commission(self, place: str, user: str, *lines: str, options: tuple[str, ...] = ()) -> Result:
        """`commission` with the password and what is typed after it."""
        said = "".join(f"{line}\n" for line in (PASSWORD, *lines))
        return self.run("commission", place, "--user", user, "--password-stdin", *options, said=said)

    def set_mode(self, mode: int) -> None:
        """Put the control of the IED into a mode, and wait until the gateway knows."""
        self.feeder.devices["ied"].order(ref="LD0/CSWI1.Beh", value=mode)

        def shown() -> bool:
            self.ask("refresh", device="ied")
            return bool(self.ask("show", address=f"{BAY61850}/QA1/CSWI1/Beh")["reading"]["value"] == mode)

        wait_until(shown, 15)

    def carried_out(self) -> int:
        """Commands that the devices say they carried out."""
        devices = self.feeder.devices
        return len(devices["ied"].said("operated")) + len(devices["rtu"].said("command"))

    def ask(self, what: str, **more: Any) -> Any:
        """A request of somebody who commissions everywhere and stays logged in."""
        folder = self.folder / "data"
        try:
            return ask(folder, f"commission.{what}", token=self._token, **more)
        except ControlError as error:
            if "log in again" not in str(error):
                raise
        begun = ask(folder, "commission.begin", place="dso1", user="ines", password=PASSWORD)
        self._token = begun["token"]
        return ask(folder, f"commission.{what}", token=self._token, **more)

    def state_of(self, address: str) -> tuple[str, str]:
        """(state, why) of a point as the gateway tells it."""
        told = self.ask("show", address=address)
        return told["state"], told["why"]
