#!/bin/sh
# Makes an authority of your own, and certificates for the hosts and users of a farm:
#
#   sh certificates.sh FOLDER NAME…
#
# FOLDER gets ca.pem and ca.key if they are not there yet, and NAME.pem and NAME.key for each NAME: a host name, an IP
# address, or the name of a client. The certificates are valid for two years; run it again with the same names to renew
# them. FOLDER is readable for its owner alone: whoever has ca.key can make certificates that your farm accepts.
set -eu
umask 077

[ $# -ge 2 ] || {
  echo "Usage: sh certificates.sh FOLDER NAME..." >&2
  exit 2
}
folder=$1
shift
for name in "$@"; do
  case $name in
    '' | ca | -* | *[!A-Za-z0-9.:_-]*) echo "$name is not a host name, an IP address or a name of a client" >&2; exit 2 ;;
  esac
done
mkdir -p "$folder"

# openssl writes its progress to standard error; it is shown only if it fails.
quietly() {
  "$@" 2> "$folder/openssl.log" || {
    cat "$folder/openssl.log" >&2
    exit 1
  }
}

new_key="-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
if [ ! -e "$folder/ca.key" ]; then
  quietly openssl req -x509 $new_key -days 3650 -subj "/CN=Authority of the wheel farm" \
    -addext "basicConstraints = critical, CA:TRUE" -addext "keyUsage = critical, keyCertSign, cRLSign" \
    -keyout "$folder/ca.key" -out "$folder/ca.pem"
fi
for name in "$@"; do
  case $name in
    *:*) kind=IP ;;
    *[!0-9.]*) kind=DNS ;;
    *) kind=IP ;;
  esac
  cat > "$folder/extensions" << END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $kind:$name
END
  quietly openssl req $new_key -subj "/CN=$name" -keyout "$folder/$name.key" -out "$folder/request"
  quietly openssl x509 -req -in "$folder/request" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 730 \
    -extfile "$folder/extensions" -out "$folder/$name.pem"
done
rm -f "$folder/extensions" "$folder/request" "$folder/openssl.log"
echo "$folder has a certificate and a key for each of: $*"
