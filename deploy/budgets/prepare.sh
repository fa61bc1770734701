#!/bin/sh
# Makes what Redis and PostgreSQL start with, once: passwords, the users of Redis, and an empty folder for the database.
# The volumes are mounted on folders of the processor's image, so that they belong to its user. All services run as it.
set -eu
umask 077
passwords=/var/lib/extproc redis=/run/envoy postgres=/run/extproc
mkdir -p "$postgres/data"
test -e "$redis/users.acl" && exit
for name in redis postgres; do
  head -c 30 /dev/urandom | base64 | tr -d '\n' > "$passwords/$name"
done
digest=$(sha256sum < "$passwords/redis" | cut -d' ' -f1)
# The commands of docs/budgets.md, and what the sign-in needs beside them. The health check has no password. Nobody can be
# the user `default`, but Redis reads its append-only file as it.
cat > "$redis/new" <<END
user default off resetpass ~* &* +@all
user health on nopass -@all +ping
user gateway on #$digest resetkeys ~extproc:* resetchannels -@all +@connection +eval +evalsha +scan +hgetall +hget +hset +hdel +hincrby +get +set +exists +expire +ttl +getdel +mget
END
mv "$redis/new" "$redis/users.acl"
