#!/bin/sh
# The record of a final job, with any Redis client: JSON, never compressed.
#
#   sh read_redis.sh JOB [REDIS-CLI ARGUMENTS]     default: the embedded server of `chatq up` in this folder
set -eu
JOB=$1
shift
[ $# -gt 0 ] || set -- -s .chatq/redis.sock
redis-cli "$@" GET "chatq:result:$JOB"
