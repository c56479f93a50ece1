#!/bin/sh
# A report for people: how many calibrated images of the campaign lie at this facility.
# Arguments: the campaign, the facility. REPO is the facility's Butler. The last line is the result.
set -eu
images=$(find "$REPO/DemoCam/runs/$1/calibrate" -path '*/calibrated_image/*' -type f | wc -l)
printf '{"facility": "%s", "calibrated_images": %s}\n' "$2" "$images"
