#!/bin/sh
# A light MCP server over stdio that starts in a millisecond, where Node takes dozens: what a restart costs the client shows.
# It ends with its stdin, and it starts no process of its own.
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
    reply '"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"instant","version":"1.0.0"}}'
    ;;
  *'"method":"tools/list"'*)
    reply '"result":{"tools":[{"name":"echo","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}'
    ;;
  *'"method":"tools/call"'*)
    text=${line##*'"text":"'}
    text=${text%%\"*}
    reply "\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"$text\"}]}"
    ;;
  *'"method":"ping"'*)
    reply '"result":{}'
    ;;
  *)
    reply '"error":{"code":-32601,"message":"method not found"}'
    ;;
  esac
done
