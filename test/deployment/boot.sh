#!/bin/bash
# The first process of a clean machine (clean-machine.ts): makes an overlay of this machine's files its root, and reaps.
mount -t tmpfs -o mode=755 tmpfs "$BASE"
mkdir "$BASE/up" "$BASE/work" "$BASE/root"
cp /etc/resolv.conf "$BASE/resolv.conf"
mount -t overlay overlay -o "lowerdir=/,upperdir=$BASE/up,workdir=$BASE/work" "$BASE/root"
root=$BASE/root
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
for folder in tmp run; do mount -t tmpfs -o mode=1777 tmpfs "$root/$folder"; done
chmod 755 "$root/run"
mkdir -p "$root/run/lock" "$root/mnt/scp" "$root/home/admin" "$root${BASE%/*}"
mount --bind "${BASE%/*}" "$root${BASE%/*}"
mount --bind "$OWN_HOME" "$root/home/admin"
if [ -n "$SHARED" ]; then
  mkdir -p "$root/var/www/piwheels"
  mount --bind "$SHARED" "$root/var/www/piwheels"
fi
echo "$HOMES" | while read -r machine home; do
  mkdir -p "$root/mnt/scp/$machine"
  mount --bind "$home" "$root/mnt/scp/$machine"
done
hostname "${FQDN%%.*}"
cp "$BASE/resolv.conf" "$root/etc/resolv.conf"
echo "127.0.0.1 localhost" > "$root/etc/hosts"
echo "$HOSTS" >> "$root/etc/hosts"
printf '%s' "$SYSTEMCTL" > "$root/usr/local/bin/systemctl"
cat > "$root/usr/local/bin/scp" << 'END'
#!/bin/bash
# scp [-r] FILE... HOST:[NAME]: to the home of another clean machine's admin.
[ "$1" != -r ] || shift
target=${!#}
cp -r -- "${@:1:$#-1}" "/mnt/scp/${target%%:*}/${target#*:}"
END
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/local/bin/systemctl" "$root/usr/local/bin/scp" "$root/usr/sbin/policy-rc.d"
cd "$root"
mkdir -p .old
pivot_root . .old
umount -l /.old
echo ready
while :; do sleep 60; done
