"""The command line's part for trust: which client applications the OPC UA server talks to; works while it runs."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer

from address_space.opcua.trust_check import application_uris, fingerprint, policy_problem, thumbprint
from address_space.opcua.trust_store import (
    Contents,
    Kind,
    StoredCertificate,
    TrustStore,
    common_name,
    read_certificate,
    read_revocations,
)

trust_app = typer.Typer(help="Certificates of OPC UA clients: whom the gateway trusts.", no_args_is_help=True)
Config = Annotated[Path, typer.Option(help="The gateway's configuration file.")]
Pki = Annotated[Path | None, typer.Option(help="The pki folder, instead of that of the configuration.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_DEFAULT = Path("gateway.yaml")


def _store(config: Path, pki: Path | None) -> TrustStore:
    if pki is None:
        from twin_gateway.config import ConfigError, load_config

        try:
            pki = load_config(config).data_directory / "pki"
        except ConfigError as error:
            _fail(str(error))
    store = TrustStore(pki)
    try:
        store.make()
    except OSError as error:
        _fail(str(error))
    return store


@trust_app.command("list")
def list_trusted(config: Config = _DEFAULT, pki: Pki = None, as_json: Json = False) -> None:
    """Show trusted, issuing and rejected certificates and the revocation lists."""
    contents = _store(config, pki).read()
    if as_json:
        typer.echo(json.dumps(_document(contents), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title="Certificates")
    for column in ("list", "name", "thumbprint", "application", "valid until", "note"):
        table.add_column(column, overflow="fold")
    for each in contents.certificates:
        line = _certificate(each)
        table.add_row(*(str(line[key]) for key in ("list", "name", "thumbprint", "application", "until", "note")))
    console.print(table)
    if contents.revocations:
        lists = Table(title="Revocation lists")
        for column in ("of", "issuer", "revoked", "next update"):
            lists.add_column(column, overflow="fold")
        for revocations in _revocations(contents):
            lists.add_row(*(str(revocations[key]) for key in ("list", "issuer", "revoked", "next_update")))
        console.print(lists)
    for problem in contents.problems:
        typer.echo(f"warning: {problem}", err=True)


@trust_app.command("add")
def add(
    what: Annotated[str, typer.Argument(help="A certificate or CRL file, or thumbprint or name of a rejected one.")],
    issuer: Annotated[bool, typer.Option(help="Only for chains: an authority that is not trusted by itself.")] = False,
    config: Config = _DEFAULT,
    pki: Pki = None,
) -> None:
    """Trust a client, or an authority and all it has certified (its revocation list is needed too)."""
    store = _store(config, pki)
    kind: Kind = "issuer" if issuer else "trusted"
    path = Path(what)
    try:
        if path.is_file():
            data = path.read_bytes()
            try:
                certificate = read_certificate(data)
            except ValueError:
                store.add_revocations(kind, read_revocations(data))
                typer.echo(f"the revocation list {path} counts from now on")
                return
        else:
            certificate = _one(store.find(what, kinds=("rejected",)), what).certificate
        problem = policy_problem(certificate)
        if problem:
            _fail(f"{common_name(certificate)}: {problem}")
        store.add(kind, certificate)
    except ValueError as error:
        _fail(f"{path} is neither a certificate nor a revocation list: {error}")
    except OSError as error:
        _fail(str(error))
    word = "helps to build chains" if issuer else "is trusted"
    typer.echo(f"{common_name(certificate)} {thumbprint(certificate)} {word} from now on")


@trust_app.command("remove")
def remove(
    what: Annotated[str, typer.Argument(help="Thumbprint or name; it must not be ambiguous.")],
    config: Config = _DEFAULT,
    pki: Pki = None,
) -> None:
    """Take a certificate out of all lists; connections of the client end within seconds."""
    store = _store(config, pki)
    certificate = _one(store.find(what), what).certificate
    removed = store.remove(certificate)
    typer.echo(f"{common_name(certificate)} {thumbprint(certificate)}: {len(removed)} file(s) removed")


@trust_app.command("reject")
def reject(
    what: Annotated[str, typer.Argument(help="Thumbprint or name of a trusted certificate.")],
    config: Config = _DEFAULT,
    pki: Pki = None,
) -> None:
    """Trust a certificate no longer, but keep it with the rejected ones."""
    store = _store(config, pki)
    certificate = _one(store.find(what, kinds=("trusted", "issuer")), what).certificate
    try:
        store.add("rejected", certificate)
        store.remove(certificate, kinds=("trusted", "issuer"))
    except OSError as error:
        _fail(str(error))
    typer.echo(f"{common_name(certificate)} {thumbprint(certificate)} is trusted no longer")


@trust_app.command("renew")
def renew(
    config: Config = _DEFAULT,
    new_key: Annotated[bool, typer.Option(help="Make a new key as well.")] = False,
) -> None:
    """Make a new certificate for the gateway itself; it counts from the next start, the former one is kept."""
    from address_space.opcua import security
    from twin_gateway.config import ConfigError, load_config
    from twin_gateway.gateway_parts import server_settings

    try:
        settings = server_settings(load_config(config))
        names = security.names_of(settings)
        made = security.renew(settings.pki_directory, names, new_key=new_key, key_bits=settings.key_bits)
    except (ConfigError, security.CertificateError, OSError) as error:
        _fail(str(error))
    typer.echo(f"{thumbprint(made)} is valid until {made.not_valid_after_utc:%Y-%m-%d}; restart the gateway to use it")


def _one(found: list[StoredCertificate], text: str) -> StoredCertificate:
    different = {fingerprint(each.certificate) for each in found}
    if not found:
        _fail(f"no certificate {text!r}; `twin-gateway trust list` shows those there are")
    if len(different) > 1:
        marks = ", ".join(sorted(thumbprint(each.certificate) for each in found))
        _fail(f"{text!r} names several: {marks}")
    return found[0]


def _certificate(each: StoredCertificate) -> dict[str, object]:
    certificate, now = each.certificate, datetime.datetime.now(datetime.UTC)
    note = policy_problem(certificate)
    if certificate.not_valid_after_utc < now:
        note = "expired"
    elif certificate.not_valid_before_utc > now:
        note = "not valid yet"
    return {
        "list": each.kind,
        "name": common_name(certificate),
        "thumbprint": thumbprint(certificate),
        "sha256": fingerprint(certificate),
        "application": ", ".join(application_uris(certificate)),
        "until": f"{certificate.not_valid_after_utc:%Y-%m-%d}",
        "note": note,
        "file": str(each.path),
    }


def _revocations(contents: Contents) -> list[dict[str, object]]:
    lists = []
    for each in contents.revocations:
        update = each.revocations.next_update_utc
        lists.append(
            {
                "list": cast("str", each.kind),
                "issuer": each.revocations.issuer.rfc4514_string(),
                "revoked": len(each.revocations),
                "next_update": f"{update:%Y-%m-%d}" if update is not None else "",
                "file": str(each.path),
            }
        )
    return lists


def _document(contents: Contents) -> dict[str, object]:
    return {
        "certificates": [_certificate(each) for each in contents.certificates],
        "revocations": _revocations(contents),
        "problems": contents.problems,
    }


def _fail(text: str) -> NoReturn:
    typer.echo(f"error: {text}", err=True)
    raise typer.Exit(1)
