"""TLS of the drivers: what is wrong with files and certificates is said in one sentence; OpenSSL is the other side."""

import asyncio
import contextlib
import shutil
import ssl

import pytest
from peers.certificates import certificate, protected_key, revocations
from peers.ports import free_port

from twin_gateway.drivers.tls import TlsConfig, client_context, why


@pytest.fixture
def files(tmp_path):
    """An authority, a device, the gateway."""
    ca = certificate(tmp_path, "ca")
    return {"ca": ca, "device": certificate(tmp_path, "device", ca), "gateway": certificate(tmp_path, "gateway", ca)}


def config(files, **changes):
    said = {"ca": files["ca"].file, "certificate": files["gateway"].file, "key": files["gateway"].key_file} | changes
    return TlsConfig(**{name: None if value is None else str(value) for name, value in said.items()})


def complaint(files, **changes):
    with pytest.raises(OSError) as failed:
        client_context(config(files, **changes))
    return str(failed.value)


@pytest.mark.parametrize("field", ["ca", "certificate", "key", "crl"])
def test_missing_file_is_named_with_its_field(files, tmp_path, field):
    missing = tmp_path / "none.pem"
    assert complaint(files, **{field: missing}) == f"tls.{field}: there is no file {missing}"


def test_key_of_another_certificate_is_told(files):
    text = complaint(files, key=files["device"].key_file)
    assert "gateway.pem" in text
    assert f"tls.key: {files['device'].key_file} does not belong to the certificate" in text


def test_key_with_a_password_is_told_and_nobody_is_asked_for_it(files):
    protected = protected_key(files["gateway"], b"secret")
    assert complaint(files, key=protected).startswith(f"tls.key: {protected} is protected by a password")


def test_key_and_certificate_exchanged_are_told(files):
    gateway = files["gateway"]
    assert complaint(files, certificate=gateway.key_file).endswith("holds no certificate in PEM")
    assert complaint(files, key=gateway.file).endswith("holds no private key in PEM")


def test_authority_that_is_no_certificate_is_told(files, tmp_path):
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    assert complaint(files, ca=nonsense).startswith(f"tls.ca: {nonsense} holds nothing that can be used")
    assert complaint(files, ca=revocations(files["ca"])).endswith("holds no certificate")


def test_certificate_in_the_place_of_a_revocation_list_is_refused_and_never_trusted(files, tmp_path):
    other = certificate(tmp_path, "other")
    assert complaint(files, crl=other.file) == (
        f"tls.crl: {other.file} holds certificates; only revocation lists belong there"
    )


@contextlib.asynccontextmanager
async def s_server(files, *options):
    """`openssl s_server`, which demands a certificate of the authority."""
    port, device = free_port(), files["device"]
    process = await asyncio.create_subprocess_exec(
        "openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", device.file, "-key", device.key_file,
        "-CAfile", files["ca"].file, "-Verify", "1", "-verify_return_error", "-quiet", "-no_ign_eof", "-rev", *options,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                break
            await asyncio.sleep(0.05)
        yield port
    finally:
        process.kill()
        await process.wait()


async def spoken(port, settings):
    """What comes back for `abc`, or the sentence why nothing does."""
    name = settings.server_name or "127.0.0.1"
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client_context(settings), server_hostname=name
            )
            writer.write(b"abc\n")
            line = await reader.readline()
            writer.close()
            return line.decode().strip() or "nothing"
    except OSError as error:
        return why(str(error))


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl command")


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_both_sides_show_certificates_to_openssl(files, version):
    async with s_server(files, version) as port:
        assert await spoken(port, config(files)) == "cba"


@needs_openssl
async def test_device_with_an_older_version_is_refused(files):
    async with s_server(files, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0") as port:
        assert "version" in await spoken(port, config(files))


@needs_openssl
async def test_certificate_of_ours_that_the_device_does_not_know_is_told(files, tmp_path):
    stranger = certificate(tmp_path, "stranger", certificate(tmp_path, "elsewhere"))
    for version in ("-tls1_2", "-tls1_3"):
        async with s_server(files, version) as port:
            text = await spoken(port, config(files, certificate=stranger.file, key=stranger.key_file))
            assert text == "TLS: the device refuses our certificate: unknown ca"


@needs_openssl
async def test_revoked_certificate_is_refused_and_one_that_is_not_is_taken(files):
    async with s_server(files) as port:
        listed = revocations(files["ca"], files["device"])
        revoked = await spoken(port, config(files, crl=listed))
        assert revoked == "TLS: the device's certificate is refused: certificate revoked"
        assert await spoken(port, config(files, crl=revocations(files["ca"]))) == "cba"


@needs_openssl
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"days": -1.0}, "TLS: the device's certificate is refused: certificate has expired"),
        ({"host": "10.1.1.1"}, "TLS: the device's certificate is refused: IP address mismatch"),
    ],
    ids=["expired", "another address"],
)
async def test_certificate_that_does_not_fit_is_refused(files, tmp_path, changes, sentence):
    unfit = {**files, "device": certificate(tmp_path, "unfit", files["ca"], **changes)}
    async with s_server(unfit) as port:
        assert (await spoken(port, config(files))).startswith(sentence)


@needs_openssl
async def test_name_in_the_certificate_counts_when_one_is_configured(files, tmp_path):
    named = {**files, "device": certificate(tmp_path, "named", files["ca"], host="relay1")}
    async with s_server(named) as port:
        assert await spoken(port, config(files, server_name="relay1")) == "cba"
        refused = await spoken(port, config(files, server_name="relay2"))
        assert refused.startswith("TLS: the device's certificate is refused: Hostname mismatch")


@needs_openssl
async def test_certificate_of_another_authority_is_refused(files, tmp_path):
    other = certificate(tmp_path, "other")
    async with s_server(files) as port:
        told, _, reason = (await spoken(port, config(files, ca=other.file))).partition(": self-signed")
        assert (told, reason) == ("TLS: the device's certificate is refused", " certificate in certificate chain")


def test_texts_that_are_not_about_tls_stay_as_they_are():
    for text in ("", "Connection refused", "no answer within 4 s", "alert the operator"):
        assert why(text) == text


def test_device_that_speaks_no_tls_is_told():
    error = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)")
    assert why(str(error)) == "TLS: the device does not speak TLS there"
