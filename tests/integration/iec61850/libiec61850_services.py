"""The same IED on libiec61850 with files, setting groups, a log control block and TLS. Run as a process of its own.

    python libiec61850_services.py FILE.cid PORT [--files FOLDER] [--tls FOLDER]

`--tls` names a folder with ca.pem, server.pem and server.key. Everything else as in libiec61850_server.py.
"""

import sys
from pathlib import Path

import libiec61850_server as base
import pyiec61850.pyiec61850 as c


class Configuration(base.Configuration):
    """Adds setting groups and log control blocks."""

    def node(self, node):
        super().node(node)
        more = [f"SG({of.get('actSG', '1')} {of.get('numOfSGs')});" for of in self.children(node, "SettingControl")]
        more += [f"LOG({of.get('name')});" for of in self.children(node, "Log")]
        for of in self.children(node, "LogControl"):
            more.append(f"LC({of.get('name')} {of.get('datSet')} {of.get('logName')} 19 0 0 1);")
        self.lines[-1:] = [*more, "}"]


def option(name):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def main():
    base.Configuration = Configuration
    folder = option("--tls")
    if folder is not None:
        tls = c.TLSConfiguration_create()
        of = Path(folder)
        ready = (
            c.TLSConfiguration_setOwnKeyFromFile(tls, str(of / "server.key"), None)
            and c.TLSConfiguration_setOwnCertificateFromFile(tls, str(of / "server.pem"))
            and c.TLSConfiguration_addCACertificateFromFile(tls, str(of / "ca.pem"))
        )
        if not ready:
            print("no TLS", flush=True)
            return
        c.TLSConfiguration_setChainValidation(tls, True)
        c.TLSConfiguration_setAllowOnlyKnownCertificates(tls, False)
        c.IedServer_create = lambda model: c.IedServer_createWithTlsSupport(model, tls)
    files = option("--files")
    if files is not None:
        start = c.IedServer_start

        def with_files(server, port):
            c.IedServer_setFilestoreBasepath(server, files.rstrip("/") + "/")
            return start(server, port)

        c.IedServer_start = with_files
    base.main()


if __name__ == "__main__":
    main()
