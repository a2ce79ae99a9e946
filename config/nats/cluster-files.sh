#!/bin/sh
# Writes the files of a cluster of three nats-servers, and of leaf nodes at other sites, from the samples beside this
# script, with every placeholder filled in and new passwords:
#
#   sh cluster-files.sh [--authority AUTHORITY] FOLDER HOST1 HOST2 HOST3 [SITE…]
#
# FOLDER, which must not exist, gets a folder for each host and site. Copy the files in it to /etc/nats on that
# machine. Each SITE is a name for a leaf node: letters, digits, ., - and _. nats-server.env holds the passwords: it is
# for systemd's EnvironmentFile, readable for root alone.
#
# With --authority, all connections use TLS: those of clients, those between the servers, and those of leaf nodes.
# AUTHORITY is a folder of certificates.sh, which makes a certificate for each host and site there. SITE is then the
# host name by which its slaves reach the leaf node.
set -eu
umask 077

usage() {
  echo "Usage: sh cluster-files.sh [--authority AUTHORITY] FOLDER HOST1 HOST2 HOST3 [SITE...]" >&2
  exit 2
}

authority=''
if [ "${1-}" = --authority ]; then
  [ $# -ge 2 ] && [ -n "$2" ] || usage
  authority=$2
  shift 2
fi
[ $# -ge 4 ] || usage
samples=$(cd "$(dirname "$0")" && pwd)
folder=$1
host1=$2 host2=$3 host3=$4
shift 4
for host in "$host1" "$host2" "$host3"; do
  case $host in
    '' | *[!A-Za-z0-9.-]*) echo "$host is not a host name" >&2; exit 2 ;;
  esac
done
[ "$host1" != "$host2" ] && [ "$host1" != "$host3" ] && [ "$host2" != "$host3" ] || {
  echo "the three hosts must differ" >&2
  exit 2
}
for site in "$@"; do
  case $site in
    '' | .* | *[!A-Za-z0-9._-]*) echo "$site is not a name of letters, digits, ., - and _" >&2; exit 2 ;;
  esac
done
mkdir "$folder"

# A nats-server reads a password that begins with a digit as a number.
secret() {
  printf 'p%s' "$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')"
}

route_secret=$(secret)
master_password=$(secret)
admin_password=$(secret)
leaf_users=''
for site in "$@"; do
  leaf_secret=$(secret)
  leaf_users="$leaf_users      { user: $site, password: $leaf_secret, account: SLAVES }
"
  mkdir "$folder/$site"
  urls="urls: ["
  for host in "$host1" "$host2" "$host3"; do
    urls="$urls\"nats-leaf://$site:$leaf_secret@$host:7422\", "
  done
  sed -e "s|^server_name: .*|server_name: $site|" -e "s|^      url: .*|      ${urls%, }]|" \
    "$samples/leaf.conf" > "$folder/$site/nats-server.conf"
  cp "$samples/piw-slaves.conf" "$folder/$site/"
done

for host in "$host1" "$host2" "$host3"; do
  mkdir "$folder/$host"
  sed -e "s|ROUTE_SECRET|$route_secret|" -e "s|nats-1.example.org|$host1|g" -e "s|nats-2.example.org|$host2|g" \
    -e "s|nats-3.example.org|$host3|g" "$samples/cluster.conf" > "$folder/$host/nats-server.conf"
  cp "$samples/accounts.conf" "$samples/piw-slaves.conf" "$folder/$host/"
  if [ $# -gt 0 ]; then
    printf '\ninclude "./leaf-hub.conf"\n' >> "$folder/$host/nats-server.conf"
    printf '%s' "$leaf_users" > "$folder/users"
    sed -e "/user: site-1/{
r $folder/users
d
}" "$samples/leaf-hub.conf" > "$folder/$host/leaf-hub.conf"
    rm "$folder/users"
  fi
  cat > "$folder/$host/nats-server.env" << EOF
PIW_NATS_NAME=$host
PIW_MASTER_PASSWORD=$master_password
PIW_ADMIN_PASSWORD=$admin_password
EOF
done
scheme=nats
if [ -n "$authority" ]; then
  scheme=tls
  sh "$samples/../certificates.sh" "$authority" "$host1" "$host2" "$host3" "$@"
  for machine in "$host1" "$host2" "$host3" "$@"; do
    cp "$authority/ca.pem" "$folder/$machine/ca.pem"
    cp "$authority/$machine.pem" "$folder/$machine/server.pem"
    cp "$authority/$machine.key" "$folder/$machine/server.key"
    for file in nats-server.conf leaf-hub.conf; do
      [ ! -e "$folder/$machine/$file" ] ||
        sed -i -e '/^ *# tls {/,/^ *# }/s/# //' -e '/^ *# [a-z_]*advertise: /s/# //' "$folder/$machine/$file"
    done
  done
fi
printf '%s://master:%s@%s,%s,%s\n' "$scheme" "$master_password" "$host1" "$host2" "$host3" > "$folder/piwheels.nats"
echo "Copy the files of each of these folders to /etc/nats on its machine: $(cd "$folder" && echo */)"
echo "$folder/piwheels.nats holds the master's address of the servers: nats-file of /etc/piwheels.conf names its copy."
