#!/bin/bash
# Runs the tests of the ARC driver against a real A-REX from Debian's packages. Needs root: the
# server listens on every address, so it lives in a network namespace with nothing but loopback.
#
#   real_arex.sh PYTHON [pytest arguments]
set -eu
python=$1; shift
here=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "real_arex.sh: needs root" >&2; exit 2; }
packages="nordugrid-arc-arex nordugrid-arc-client nordugrid-arc-plugins-arcrest
          nordugrid-arc-arcctl-service openssl"
if [ ! -x /usr/share/arc/arc-arex-start ]; then
    name=$(hostname -f 2>/dev/null || true)
    # The package makes its host certificate for this name and fails where there is none.
    [ -n "$name" ] || echo "127.0.0.1 $(hostname).localdomain $(hostname)" >> /etc/hosts
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages >&2
fi
host=$(openssl x509 -in /etc/grid-security/testCA-hostcert.pem -noout -ext subjectAltName |
       sed -n 's/.*DNS:\([^,]*\).*/\1/p')
space=cmdarex$$
base=$(mktemp -d /var/tmp/real-arex.XXXXXX)
chmod 755 "$base"
mkdir -p "$base/control" "$base/session" "$base/user"
chmod 1777 "$base/session"

finish() {
    for file in "$base"/*.pid; do
        [ -e "$file" ] && kill "$(cat "$file")" 2>/dev/null || true
    done
    # Whatever else lives in the namespace, and only there.
    for try in 1 2 3 4 5 6 7 8 9 10; do
        left=$(ip netns pids "$space" 2>/dev/null || true)
        [ -n "$left" ] || break
        [ "$try" -lt 5 ] || kill -9 $left 2>/dev/null || true
        sleep 0.5
    done
    ip netns del "$space" 2>/dev/null || true
    [ -n "${KEEP_AREX:-}" ] || rm -rf "$base"
}
trap finish EXIT

(cd "$base/user" && arcctl test-ca usercert --username "tester$$" --force >&2)
cert=$(ls "$base"/user/*cert.pem | head -1)
key=$(ls "$base"/user/*key.pem | head -1)
ca=$(ls /etc/grid-security/certificates/ARC-TestCA-*.pem | grep -v key | head -1)

cat > "$base/arc.conf" <<CONF
[common]
hostname = $host
x509_host_key = /etc/grid-security/testCA-hostkey.pem
x509_host_cert = /etc/grid-security/testCA-hostcert.pem
x509_cert_dir = /etc/grid-security/certificates
[authgroup:zero]
file = /etc/grid-security/testCA.allowed-subjects
[mapping]
map_to_user = zero nobody:nogroup
[lrms]
lrms = fork
[arex]
controldir = $base/control
sessiondir = $base/session
logfile = $base/arex.log
pidfile = $base/arex.pid
wakeupperiod = 5
joblog = $base/jobs.log
[arex/ws]
wsurl = https://$host:20443/arex
logfile = $base/ws.log
pidfile = $base/ws.pid
[arex/ws/jobs]
allowaccess = zero
[infosys]
logfile = $base/infosys.log
[infosys/glue2]
[infosys/cluster]
[queue:fork]
CONF

ip netns add "$space"
ip netns exec "$space" ip link set lo up
export ARC_CONFIG="$base/arc.conf"
ip netns exec "$space" /usr/share/arc/arc-arex-start >&2 || { cat "$base"/*.log >&2; exit 3; }
ip netns exec "$space" /usr/share/arc/arc-arex-ws-start >&2 || { cat "$base"/*.log >&2; exit 3; }

export CMD_REAL_AREX="https://$host:20443/arex"
export CMD_REAL_AREX_CA="$ca" CMD_REAL_AREX_CERT="$cert" CMD_REAL_AREX_KEY="$key"
status=0
ip netns exec "$space" "$python" -m pytest "$here/real_arex_check.py" "$@" || status=$?
[ "$status" = 0 ] || tail -n 40 "$base/arex.log" "$base/ws.log" >&2
exit "$status"
