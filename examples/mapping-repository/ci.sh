#!/bin/sh
# What must hold before a change of mapping files is merged. Secrets are not needed: their absence is a warning.
set -eu
cd "$(dirname "$0")"
twin-gateway fmt --check mappings templates
twin-gateway check mappings templates
