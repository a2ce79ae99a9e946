#!/bin/bash
# Makes a clean machine (clean-machine.ts) one with a user who may use sudo, and with a new cluster of PostgreSQL where
# that is installed.
apt-get -q update
apt-get -q install -y --no-install-recommends sudo
useradd --shell /bin/bash --home-dir /home/admin --no-create-home admin
chown admin:admin /home/admin
printf '%s' "$ENVIRONMENT" > /etc/environment
mkdir -p /etc/units
printf '%s' "$SERVICE_ENVIRONMENT" > /etc/units/environment
printf 'admin ALL=(ALL) NOPASSWD: ALL\nDefaults env_file=/etc/environment\n' > /etc/sudoers.d/admin
chmod 440 /etc/sudoers.d/admin
# What npm trusts on this machine, it trusts with any prefix.
cafile=$(npm config get cafile)
[ "$cafile" = null ] || npm config set cafile "$cafile" --location=user
if [ -x /usr/bin/pg_lsclusters ]; then
  pg_lsclusters --no-header | while read -r version cluster _; do
    pg_dropcluster "$version" "$cluster"
    pg_createcluster "$version" "$cluster"
  done
fi
