"""The configuration files of the server, its daemons and its clients."""

import hashlib
from pathlib import Path

ACCOUNT = "root"
USERNAME = "cmd"
PASSWORD = "secret"
SCHEMA = "dev"
TOPIC = "/topic/rucio.events"

RUCIO_CFG = """\
[common]
logdir = {home}/log
loglevel = INFO
mailtemplatedir = {venv}/rucio/etc/mail_templates

[client]
rucio_host = {url}
auth_host = {url}
auth_type = userpass
username = {username}
password = {password}
account = {account}
auth_token_file_path = {home}/token/token
request_retries = 3

[database]
default = {database}
schema = {schema}
pool_size = 10
max_overflow = 20

[bootstrap]
userpass_identity = {username}
userpass_pwd = {password}
userpass_email = nobody@example.org

[alembic]
cfg = {home}/etc/alembic.ini

[policy]
permission = generic
schema = generic
lfn2pfn_algorithm_default = identity

[conveyor]
scheme = file
transfertool = fts3

[hermes]
services_list = activemq

[messaging-hermes]
brokers = 127.0.0.1
port = {stomp}
nonssl_port = {stomp}
use_ssl = False
destination = {topic}
username = {username}
password = {password}
voname = def
"""

# Without its sections for logging the bootstrap dies after making half of the tables.
ALEMBIC_INI = """\
[alembic]
sqlalchemy.url = {database}
version_table_schema = {schema}
script_location = {package}/db/sqla/migrate_repo/

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARN
handlers = console
qualname =
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(levelname)s %(name)s %(message)s
"""


def write(home: Path, venv: Path, database: str, url: str, stomp: int) -> Path:
    """Write the files below `home`/etc; the path of rucio.cfg. `stomp` is the broker's port."""
    package = next((venv / "lib").glob("python3*/site-packages/rucio"))
    values = {
        "home": home,
        "venv": venv,
        "url": url,
        "username": USERNAME,
        "password": PASSWORD,
        "account": ACCOUNT,
        "schema": SCHEMA,
        "topic": TOPIC,
        "database": database,
        "stomp": stomp,
        "package": package,
    }
    etc = home / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    (etc / "alembic.ini").write_text(ALEMBIC_INI.format(**values))
    config = etc / "rucio.cfg"
    config.write_text(RUCIO_CFG.format(**values))
    return config


def fingerprint(*more: str) -> str:
    """Names everything that the bootstrapped database depends on."""
    text = "\n".join((USERNAME, PASSWORD, SCHEMA, ALEMBIC_INI, *more))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
