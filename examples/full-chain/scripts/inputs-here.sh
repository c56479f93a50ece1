#!/bin/sh
# Housekeeping before everything: is what the tract needs really on this facility's disk, and readable?
# Arguments: the group, the facility. REPO is the facility's Butler. The last line is the result.
set -eu
raws=$(find "$REPO/DemoCam/raw" -type f -size +0 | wc -l)
[ "$raws" -gt 0 ] || { echo "no raw exposure in $REPO at $2" >&2; exit 1; }
unreadable=$(find "$REPO/DemoCam/raw" -type f ! -readable | wc -l)
[ "$unreadable" -eq 0 ] || { echo "$unreadable raw exposures cannot be read at $2" >&2; exit 1; }
printf '{"group": "%s", "facility": "%s", "raws": %s}\n' "$1" "$2" "$raws"
