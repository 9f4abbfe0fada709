variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "blindgate"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "A name has 2 to 24 lower-case letters, digits and hyphens: load balancers take 32."
  }
}

variable "vpc_id" {
  description = "Id of the VPC."
  type        = string
}

variable "public_subnet_ids" {
  description = "Subnets of the load balancer, in at least two availability zones."
  type        = list(string)

  validation {
    condition     = length(var.public_subnet_ids) >= 2
    error_message = "A load balancer needs subnets in two availability zones."
  }
}

variable "private_subnet_ids" {
  description = "Subnets of the instances."
  type        = list(string)

  validation {
    condition     = length(var.private_subnet_ids) >= 1
    error_message = "Instances need a subnet."
  }
}

variable "endpoint_security_group_id" {
  description = "Security group of the VPC's AWS endpoints."
  type        = string
}

variable "s3_prefix_list_id" {
  description = "Prefix list of S3."
  type        = string
}

variable "certificate_arn" {
  description = "ACM certificate of the name that clients use."
  type        = string

  validation {
    condition     = can(regex("^arn:aws[a-z-]*:acm:", var.certificate_arn))
    error_message = "Give the ARN of a certificate in ACM."
  }
}

variable "internal" {
  description = "Keep the load balancer inside the VPC."
  type        = bool
  default     = false
}

variable "client_cidrs" {
  description = "IPv4 ranges that may connect to port 443."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.client_cidrs) > 0 && alltrue([for range in var.client_cidrs : can(cidrhost(range, 0))])
    error_message = "Give ranges such as 203.0.113.0/24."
  }
}

variable "instance_type" {
  description = "Type of the instances: with Nitro Enclaves, and vCPUs for the enclaves beside at least one core for the parent."
  type        = string
  default     = "c6i.xlarge"
}

variable "architecture" {
  description = "Architecture of the image: x86_64 or arm64."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "x86_64 or arm64."
  }
}

variable "ami_id" {
  description = "An Amazon Linux 2023 image. Null for the newest of the Region; pin one to choose yourself when instances are replaced."
  type        = string
  default     = null
}

variable "enclave_cpus" {
  description = "Virtual CPUs of one enclave: whole cores, so even on x86."
  type        = number
  default     = 2

  validation {
    condition     = var.enclave_cpus >= 1 && var.enclave_cpus <= 96 && floor(var.enclave_cpus) == var.enclave_cpus
    error_message = "A whole number of 1 to 96."
  }
}

variable "enclave_slots" {
  description = "Enclaves that an instance has room for: 2 to upgrade in place, on the instance, with `blindgate-enclave@green` beside `blindgate-enclave@blue`; 1 to upgrade by a second fleet."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2], var.enclave_slots)
    error_message = "1 or 2."
  }
}

variable "fleets" {
  description = "What runs: an auto scaling group for each entry, all behind one load balancer. `deploy/publish.py` prints an entry. Empty until the first image is built; two during a blue/green upgrade: a fleet that is there already is not touched by another."
  type = map(object({
    eif     = object({ key = string, version_id = string, sha256 = string })
    release = object({ key = string, version_id = string, sha256 = string })
    # Instances: at least and at most. Twice the least if the most is left out.
    min = optional(number, 2)
    max = optional(number)
    # Of 0.1: refused below. Without it here, Terraform would ignore it.
    instances = optional(number)
    # What the image needs: the builder's `NAME.requirements.json`. Left out for images of other builders.
    requirements = optional(object({ architecture = string, memory_mib = number, cpus = number, kms = optional(object({ regions = list(string), fips = bool })) }))
    # Names of `pcr_sets` that its gateways send traffic to: the one of the fleet's own name if left out.
    measurements = optional(list(string))
  }))
  default = {}

  validation {
    condition     = alltrue([for fleet in values(var.fleets) : fleet.instances == null])
    error_message = "`instances` of a fleet is gone: write `min = N` for `instances = N`, and `max` for the most that Auto Scaling may start (2 * N if you leave it out; N to keep the number fixed)."
  }

  validation {
    condition = alltrue(flatten([
      for fleet in values(var.fleets) : [
        for object in [fleet.eif, fleet.release] :
        can(regex("^[0-9a-f]{64}$", object.sha256)) && can(regex("^[A-Za-z0-9._/-]+$", object.key)) && can(regex("^[A-Za-z0-9._-]+$", object.version_id)) && object.version_id != "null"
      ]
    ]))
    error_message = "Each file needs a key of letters, digits, ., _, / and -, the version id that S3 gave it, and 64 lower-case hexadecimal digits of SHA-256."
  }

  validation {
    condition     = alltrue([for name in keys(var.fleets) : can(regex("^[a-z][a-z0-9-]{0,11}$", name))])
    error_message = "A fleet's name has up to 12 lower-case letters, digits and hyphens."
  }

  validation {
    condition = alltrue([
      for fleet in values(var.fleets) :
      fleet.requirements == null ? true : alltrue([
        contains(["x86_64", "arm64"], fleet.requirements.architecture),
        fleet.requirements.memory_mib >= 1, floor(fleet.requirements.memory_mib) == fleet.requirements.memory_mib,
        fleet.requirements.cpus >= 1, floor(fleet.requirements.cpus) == fleet.requirements.cpus,
      ])
    ])
    error_message = "`requirements` has an architecture of x86_64 or arm64, and positive whole numbers as memory_mib and cpus: take the entry that `deploy/publish.py` prints."
  }

  validation {
    condition = alltrue(flatten([
      for fleet in values(var.fleets) : [
        for region in try(fleet.requirements.kms.regions, ["us-east-1"]) : can(regex("^[a-z]+(-[a-z]+)+-[0-9]+$", region))
      ]
    ])) && alltrue([for fleet in values(var.fleets) : length(try(fleet.requirements.kms.regions, ["us-east-1"])) >= 1])
    error_message = "`requirements.kms.regions` names Regions such as us-east-1: take the entry that `deploy/publish.py` prints."
  }

  validation {
    condition = alltrue(flatten([
      for fleet in values(var.fleets) : [
        for count in [fleet.min, coalesce(fleet.max, 2 * fleet.min)] : count >= 0 && count <= 100 && floor(count) == count
      ]
    ]))
    error_message = "`min` and `max` are whole numbers of 0 to 100; `max` is twice `min` if it is left out."
  }

  validation {
    condition     = alltrue([for fleet in values(var.fleets) : fleet.min <= coalesce(fleet.max, 2 * fleet.min)])
    error_message = "A fleet's `max` is at least its `min`."
  }
}

variable "requests_per_instance" {
  description = "Requests a minute for each instance that Auto Scaling aims at, between a fleet's `min` and `max`. The default is half of what a c6i.xlarge with the default model answers, since a further instance takes up to seven minutes: measure yours (`make bench`)."
  type        = number
  default     = 3000

  validation {
    condition     = var.requests_per_instance >= 1
    error_message = "At least 1 request a minute."
  }
}

variable "pcr_sets" {
  description = "Measurements of enclaves that may take traffic, by name: the same JSON text as for the kms module."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name, fleet in var.fleets :
      length(setsubtract(coalesce(fleet.measurements, [name]), keys(var.pcr_sets))) == 0
    ])
    error_message = "Every fleet needs a set of its own name, or `measurements` that name sets: without them its gateways would send nothing to any enclave."
  }

  validation {
    condition     = alltrue([for name in keys(var.pcr_sets) : can(regex("^[A-Za-z0-9._-]+$", name))])
    error_message = "Names of sets become names of files: letters, digits, ., _ and -."
  }
}

variable "settings" {
  description = "Further settings of the gateway, such as `BLINDGATE_QUEUE`: `python -m gateway --help`. Never a secret: user data can be read by the instance and by whoever may describe it."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for name, value in var.settings :
      can(regex("^BLINDGATE_[A-Z_]+$", name)) && can(regex("^[A-Za-z0-9 ,.:/_-]*$", value)) &&
      !contains(["BLINDGATE_ALLOW_DEBUG", "BLINDGATE_ALLOW_ANONYMOUS", "BLINDGATE_ROOT"], name)
    ])
    error_message = "Settings begin with BLINDGATE_ and have plain values; BLINDGATE_ALLOW_DEBUG, BLINDGATE_ALLOW_ANONYMOUS and BLINDGATE_ROOT are for development."
  }
}

variable "artifact_bucket" {
  description = "Name of the bucket of images and releases."
  type        = string
}

variable "artifact_bucket_arn" {
  description = "ARN of the same bucket."
  type        = string
}

variable "log_group" {
  description = "Log group of the gateways."
  type        = string
}

variable "log_group_arn" {
  description = "ARN of the same log group."
  type        = string
}

variable "log_bucket" {
  description = "Bucket of the load balancer's access logs: `log_bucket` of the observability module."
  type        = string
}

variable "deletion_protection" {
  description = "Refuse to delete the load balancer, and keep a deleted secret for 30 days."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
