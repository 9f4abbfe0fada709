#!/bin/bash
# Install an unpacked release on a parent instance; run as root, any number of times.
#
#   tar -xzf blindgate-release.tar.gz -C /opt/blindgate/releases/VERSION
#   /opt/blindgate/releases/VERSION/systemd/install.sh us-east-1
#
# Give --fips after the Region for images whose configuration says `[kms] fips = true`.
# Everything comes out of the release: no package index is asked.
set -euo pipefail
umask 022
region=${1:?usage: install.sh REGION [--fips]}
release=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${PYTHON:-python3.11}

"$python" -m venv "$release/venv"
"$release/venv/bin/pip" install --quiet --no-index --find-links "$release/wheels" \
  --only-binary :all: --require-hashes -r "$release/requirements.txt"
"$release/venv/bin/pip" install --quiet --no-index --no-deps "$release"/wheels/blindgate-*.whl "$release"/wheels/blindgate_applications-*.whl

# KMS's name, as in enclave_app/kms/endpoints.py: the partition decides the suffix.
case ${2:-} in
  "") kms=kms ;;
  --fips) kms=kms-fips ;;
  *) echo "install.sh: unknown option $2; usage: install.sh REGION [--fips]" >&2; exit 2 ;;
esac
case $region in
  *-iso*) echo "install.sh: no suffix is known for the partition of $region" >&2; exit 1 ;;
  cn-*) kms=$kms.$region.amazonaws.com.cn ;;
  eusc-*) kms=$kms.$region.amazonaws.eu ;;
  *) kms=$kms.$region.amazonaws.com ;;
esac

install -d -m 0755 /etc/blindgate /etc/blindgate/pcrs /etc/sysusers.d /var/lib/blindgate /var/log/blindgate
sed "s/@KMS_HOST@/$kms/" "$release/systemd/vsock-proxy.yaml.in" > /etc/blindgate/vsock-proxy.yaml
printf 'BLINDGATE_REGION=%s\nBLINDGATE_KMS_HOST=%s\n' "$region" "$kms" > /etc/blindgate/host.env
install -m 0644 "$release/systemd/blindgate.sysusers.conf" /etc/sysusers.d/blindgate.conf
install -m 0644 "$release"/systemd/*.service /etc/systemd/system/
install -D -m 0644 "$release/systemd/nitro-enclaves.logrotate" /etc/logrotate.d/blindgate-nitro-enclaves
systemd-sysusers /etc/sysusers.d/blindgate.conf
ln -sfn "$release" /opt/blindgate/current
systemctl daemon-reload
