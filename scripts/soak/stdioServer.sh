#!/bin/sh
# A light MCP server over stdio: about a megabyte, and a millisecond to start, so that what a soak measures is the client's.
# It ends with its stdin, which is closed whenever the soak is gone, however that ended; and what it computes is bounded here.
# It starts no process of its own.
ulimit -t 60

reply() {
  printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"
}

while IFS= read -r line; do
  case $line in
  *'"id":'*) ;;
  *) continue ;; # a notification
  esac
  id=${line##*'"id":'}
  id=${id%%[,\}]*}
  case $line in
  *'"method":"initialize"'*)
    reply '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"light","version":"1.0.0"}}'
    ;;
  *'"method":"tools/list"'*)
    reply '"result":{"tools":[{"name":"echo","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}'
    ;;
  *'"method":"tools/call"'*)
    # The answer names the one who asked and the one who answered: it can be nobody else's.
    token=${line##*'"token":"'}
    token=${token%%\"*}
    reply "\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$token $$\"}]}"
    ;;
  *'"method":"ping"'*)
    reply '"result":{}'
    ;;
  *)
    reply '"error":{"code":-32601,"message":"method not found"}'
    ;;
  esac
done
