#!/bin/sh
# Makes the certificates of this folder, whose kinds of keys and versions rcgen does not make. Only the
# certificates are kept; the one key is of the version 1 CA's client.
set -eu
days="-days 36500"
dir=$(mktemp -d)
p256="-algorithm EC -pkeyopt ec_paramgen_curve:P-256"
p224="-algorithm EC -pkeyopt ec_paramgen_curve:P-224"
rsa1024="-algorithm RSA -pkeyopt rsa_keygen_bits:1024"
root() { # name kind
  openssl genpkey $2 -out "$dir/$1.key"
  openssl req -x509 -new -key "$dir/$1.key" -subj "/CN=$1" $days -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}
client() { # name kind ca further
  openssl genpkey $2 -out "$dir/$1.key"
  openssl req -new -key "$dir/$1.key" -subj "/CN=node-7" -out "$dir/$1.csr"
  echo "extendedKeyUsage=clientAuth" > "$dir/ext"
  openssl x509 -req -in "$dir/$1.csr" -CA "$3.pem" -CAkey "$dir/$3.key" $days -out "$1.pem" \
    -extfile "$dir/ext" ${4:-} 2>/dev/null
}
root root "$p256"
root root-rsa1024 "$rsa1024"
root root-p224 "$p224"
client client-rsa1024 "$rsa1024" root
client client-p224 "$p224" root
client client-sha1 "$p256" root -sha1
client client-of-rsa1024 "$p256" root-rsa1024
client client-of-p224 "$p256" root-p224
# Version 1 has no extensions.
openssl genpkey $p256 -out "$dir/root-v1.key"
openssl req -new -key "$dir/root-v1.key" -subj "/CN=root-v1" -out "$dir/v1.csr"
openssl x509 -req -in "$dir/v1.csr" -signkey "$dir/root-v1.key" $days -out root-v1.pem 2>/dev/null
client client-of-v1 "$p256" root-v1
cp "$dir/client-of-v1.key" client-of-v1.key
rm -r "$dir"
