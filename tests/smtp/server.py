"""A mail server for the tests, with faults on demand.

Arguments: a JSON object with the settings below. Prints "PORT" once it listens, then one JSON object a line for each connection,
command and mail.
"""

import asyncio
import datetime
import ipaddress
import json
import ssl
import sys
from pathlib import Path

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

settings = {
    "port": 0,  # 0 selects a free port
    "tls": "none",  # "none", "starttls", or "tls"
    "directory": None,  # where ca.pem and the certificate are written
    "certificate_for": "localhost",  # or another name, or an IP address
    "expired": False,
    "user": None,  # sign-in required with these
    "password": None,
    "idle_timeout": 300,  # seconds until the server closes an idle connection
    "replies": {},  # command: list of replies for its first uses; null is the usual reply
    "delays": {},  # command: list of seconds to wait before the reply
    "cut": {},  # command: list of true or false: close the connection instead of replying
    "inject": None,  # text that an attacker adds to the reply to STARTTLS, in plain text
    "silent": False,  # accept connections and say nothing
    "log": True,
} | json.loads(sys.argv[1])


def tell(**event):
    if settings["log"]:
        print(json.dumps(event), flush=True)


def certificate():
    """Writes a certificate authority and a certificate, and returns the context for it."""
    directory = Path(settings["directory"])
    now = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)

    def build(name, issuer, key, signer, until, extensions):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - 3 * day).not_valid_after(until)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = build(
        name("test CA"), name("test CA"), ca_key, ca_key, now + day,
        [(x509.BasicConstraints(ca=True, path_length=None), True)],
    )
    key = ec.generate_private_key(ec.SECP256R1())
    host = settings["certificate_for"]
    try:
        subject = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    until = now - day if settings["expired"] else now + day
    leaf = build(
        name("test server"), name("test CA"), key, ca_key, until, [(x509.SubjectAlternativeName([subject]), False)]
    )
    pem = serialization.Encoding.PEM
    (directory / "ca.pem").write_bytes(ca.public_bytes(pem))
    chain, private = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(leaf.public_bytes(pem))
    private.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, private)
    return context


def authenticate(server, session, envelope, mechanism, data):
    expected = LoginPassword(settings["user"].encode(), settings["password"].encode())
    return AuthResult(success=data == expected, handled=False)


def is_encrypted(server):
    return server.transport.get_extra_info("ssl_object") is not None


class Faults:
    """Changes the reply to a command: the first use takes the first entry of the list, and so on."""

    async def apply(self, server, command):
        tell(event="command", command=command, tls=is_encrypted(server))

        def next_of(setting):
            entries = settings[setting].get(command, [])
            return entries.pop(0) if entries else None

        # All are taken first: a client that hangs up ends the delay.
        delay, cut, reply = next_of("delays"), next_of("cut"), next_of("replies")
        if delay:
            await asyncio.sleep(delay)
        if cut:
            server.transport.abort()
        return reply

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        await self.apply(server, "EHLO")
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        if reply := await self.apply(server, "MAIL"):
            return reply
        envelope.mail_from, envelope.mail_options = address, options
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if reply := await self.apply(server, "RCPT"):
            return reply.replace("{address}", address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content.decode("utf-8")
        reply = await self.apply(server, "DATA")
        tell(
            event="mail",
            reply=reply or "250 OK",
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            options=envelope.mail_options,
            content=content,
            tls=is_encrypted(server),
            signed_in=bool(session.authenticated),
        )
        return reply or "250 OK"

    async def handle_QUIT(self, server, session, envelope):
        await self.apply(server, "QUIT")
        return "221 Bye"


class Server(SMTP):
    def connection_made(self, transport):
        if self.transport is None:
            tell(event="connect")
        super().connection_made(transport)

    async def push(self, status):
        if settings["inject"] and str(status).startswith("220 Ready to start TLS"):
            status = "220 Ready to start TLS\r\n" + settings["inject"]
        await super().push(status)


async def main():
    context = certificate() if settings["tls"] != "none" else None

    def factory():
        return Server(
            Faults(),
            hostname="mail.test",
            enable_SMTPUTF8=True,
            tls_context=context if settings["tls"] == "starttls" else None,
            require_starttls=settings["tls"] == "starttls",
            auth_required=settings["user"] is not None,
            auth_require_tls=False,
            authenticator=authenticate,
            timeout=settings["idle_timeout"],
            command_call_limit={"*": 100_000},
            loop=asyncio.get_running_loop(),
        )

    if settings["silent"]:
        factory = asyncio.Protocol
    loop = asyncio.get_running_loop()
    implicit = context if settings["tls"] == "tls" else None
    server = await loop.create_server(factory, "127.0.0.1", settings["port"], ssl=implicit, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)

    # The tests write a line to be sure that they have read every earlier event.
    def synchronize():
        if sys.stdin.readline():
            print(json.dumps({"event": "synchronized"}), flush=True)
        else:
            loop.remove_reader(sys.stdin)

    loop.add_reader(sys.stdin, synchronize)
    await server.serve_forever()


asyncio.run(main())
