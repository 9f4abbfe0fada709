"""The real enclave image on emulated hardware: `/dev/nsm`, vsock, no network, no mocks inside.

QEMU boots the kernel and the ramdisks of an image; `vhost-device-vsock` gives it vsock; and the
kernel's own NSM driver finds a virtio-nsm device, which the dev NSM answers over vhost-user.
"""
