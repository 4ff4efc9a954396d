"""The commands for trust and users, as an administrator types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from peers.opcua.certificates import application, authority, revocations
from typer.testing import CliRunner

from address_space.opcua.security import load_or_make
from address_space.opcua.trust_check import thumbprint
from address_space.opcua.trust_store import TrustStore
from twin_gateway.cli import app
from twin_gateway.security.users import load_users

CLI = CliRunner()


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    return tmp_path / "pki"


def run(*arguments: str | Path, text: str | None = None) -> tuple[int, str]:
    result = CLI.invoke(app, [str(each) for each in arguments], input=text)
    return result.exit_code, result.output


def test_a_rejected_client_is_listed_trusted_and_rejected_again(pki: Path) -> None:
    store = TrustStore(pki)
    store.make()
    peer = application("scada")
    store.reject(peer.certificate)
    code, text = run("trust", "list", "--pki", pki, "--json")
    [line] = json.loads(text)["certificates"]
    assert (code, line["list"], line["name"], line["application"]) == (0, "rejected", "scada", peer.uri)
    assert run("trust", "add", thumbprint(peer.certificate)[:10], "--pki", pki)[0] == 0
    assert store.lists().trusted == (peer.certificate,)
    assert run("trust", "reject", "scada", "--pki", pki)[0] == 0
    assert store.lists().trusted == ()
    assert run("trust", "remove", "scada", "--pki", pki)[0] == 0
    assert store.read().certificates == []


def test_files_of_certificates_and_revocation_lists_are_added(pki: Path, tmp_path: Path) -> None:
    root = authority()
    files = root.save(tmp_path, "root")
    crl = tmp_path / "root.crl"
    crl.write_bytes(revocations(root).public_bytes(serialization.Encoding.DER))
    assert run("trust", "add", files["certificate"], "--pki", pki)[0] == 0
    assert run("trust", "add", crl, "--pki", pki)[0] == 0
    lists = TrustStore(pki).lists()
    assert (len(lists.trusted), len(lists.revocations)) == (1, 1)
    assert run("trust", "add", files["certificate"], "--issuer", "--pki", pki)[0] == 0
    assert len(TrustStore(pki).lists().issuers) == 1


def test_the_table_is_for_people(pki: Path) -> None:
    store = TrustStore(pki)
    store.make()
    store.add("trusted", application("scada", days=(-9, -1)).certificate)
    code, text = run("trust", "list", "--pki", pki)
    assert code == 0
    assert "scada" in text
    assert "expired" in text


@pytest.mark.parametrize("what", ["nobody", "AABBCCDDEEFF"])
def test_what_is_not_there_is_told(pki: Path, what: str) -> None:
    code, text = run("trust", "add", what, "--pki", pki)
    assert code == 1
    assert "no certificate" in text


def test_a_key_that_no_policy_takes_is_not_added(pki: Path, tmp_path: Path) -> None:
    files = application("short", bits=1024).save(tmp_path, "short")
    code, text = run("trust", "add", files["certificate"], "--pki", pki)
    assert code == 1
    assert "1024 bits" in text


def test_a_file_that_is_no_certificate_is_told(pki: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("hello")
    code, text = run("trust", "add", tmp_path / "note.txt", "--pki", pki)
    assert code == 1
    assert "neither a certificate nor a revocation list" in text


def test_users_are_added_listed_and_removed(tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    certificate = application("anna").save_user(tmp_path, "anna")["certificate"]
    add = ("user", "add", "--file", file)
    assert run(*add, "sec", "--role", "SecurityAdmin", "--password-stdin", text="long enough\n")[0] == 0
    assert (
        run(*add, "anna", "--role", "Observer", "--role", "Operator@dso1/north", "--certificate", certificate)[0] == 0
    )
    assert load_users(file)["anna"].scopes() == (("Observer", ()), ("Operator", ("dso1/north",)))
    code, text = run("user", "list", "--file", file, "--json")
    anna = next(each for each in json.loads(text) if each["user"] == "anna")
    assert (code, anna["password"], len(anna["certificates"])) == (0, False, 1)
    assert "argon2id" not in text
    assert run("user", "remove", "anna", "--file", file)[0] == 0
    assert set(load_users(file)) == {"sec"}


def test_the_last_security_administrator_is_not_removed(tmp_path: Path) -> None:
    file = tmp_path / "users.yaml"
    run("user", "add", "--file", file, "sec", "--role", "SecurityAdmin", "--password-stdin", text="long enough\n")
    code, text = run("user", "remove", "sec", "--file", file)
    assert code == 1
    assert "last user with the role SecurityAdmin" in text
    code, _ = run("user", "add", "--file", file, "sec", "--role", "Observer", "--password-stdin", text="long enough\n")
    assert code == 1
    assert set(load_users(file)) == {"sec"}


def test_duties_are_separated_when_a_user_is_added(tmp_path: Path) -> None:
    roles = ("--role", "SecurityAdmin", "--role", "Operator")
    code, text = run(
        "user", "add", "--file", tmp_path / "u.yaml", "x", *roles, "--password-stdin", text="long enough\n"
    )
    assert code == 1
    assert "not given together" in text


def test_a_renewed_certificate_is_for_the_uri_of_the_configuration(tmp_path: Path) -> None:
    uri = "urn:plant:gateway-7"
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "{gateway: gw1, grid: dso1, authority: 'https://example.org', mappings: [mappings], "
        f"opcua: {{application_uri: '{uri}', host_names: [gw7.example.org]}}}}"
    )
    load_or_make(tmp_path / "data" / "pki", uri, "twin-gateway", ())
    answer = CliRunner().invoke(app, ["trust", "renew", "--config", str(config), "--new-key"])
    assert answer.exit_code == 0, answer.output
    made = load_or_make(tmp_path / "data" / "pki", uri, "twin-gateway", ()).certificate
    assert thumbprint(made) in answer.output
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "gw7.example.org" in names.get_values_for_type(x509.DNSName)
