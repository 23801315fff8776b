#!/bin/sh
# Enqueue a job over HTTP, and wait for its record. CHATQ: where the front listens.
set -eu
CHATQ=${CHATQ:-http://127.0.0.1:8400}
LOCATION=$(curl -sS -i "$CHATQ/v1/jobs" -H 'Content-Type: application/json' \
  -d '{"connection": "demo", "prompt": "Say hi"}' | tr -d '\r' | sed -n 's/^location: //p')
curl -sS "$CHATQ$LOCATION?wait=60"
