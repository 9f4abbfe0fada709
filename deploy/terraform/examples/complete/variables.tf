variable "region" {
  description = "Region of everything."
  type        = string
  default     = "us-east-1"
}

variable "availability_zones" {
  description = "Two to four availability zones of the Region."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b"]
}

variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "blindgate"
}

variable "certificate_arn" {
  description = "ACM certificate of the name that clients use."
  type        = string
}

variable "admins" {
  description = "ARNs of the users or roles that manage the key; you, who run Terraform, among them."
  type        = list(string)
}

variable "owners" {
  description = "ARNs of the users or roles that encrypt images."
  type        = list(string)
}

variable "encryption_context" {
  description = "Pairs that every wrap and unwrap must name; the same as in enclave.toml."
  type        = map(string)
  default     = { purpose = "blindgate" }
}

variable "pcr_files" {
  description = "Files of measurements, by name: what `blindgate image build` wrote. Two during an upgrade."
  type        = map(string)
  default     = {}
}

variable "fleets" {
  description = "What runs: entries that `deploy/publish.py` prints. Two during an upgrade."
  type = map(object({
    eif     = object({ key = string, version_id = string, sha256 = string })
    release = object({ key = string, version_id = string, sha256 = string })
    # Instances: at least and at most. Twice the least if the most is left out.
    min = optional(number, 2)
    max = optional(number)
    # Of 0.1: refused, and min and max take its place.
    instances = optional(number)
    # From the builder, for checks when Terraform plans.
    requirements = optional(object({ architecture = string, memory_mib = number, cpus = number, kms = optional(object({ regions = list(string), fips = bool })) }))
    # The set of the fleet's own name if left out.
    measurements = optional(list(string))
  }))
  default = {}
}

variable "instance_type" {
  description = "Type of the instances: c6i.xlarge for x86_64, c7g.xlarge for arm64. It must run Nitro Enclaves."
  type        = string
  default     = "c6i.xlarge"
}

variable "architecture" {
  description = "Architecture of the instances and of the image: x86_64, or arm64 for Graviton."
  type        = string
  default     = "x86_64"
}

variable "requests_per_instance" {
  description = "Requests a minute for each instance that Auto Scaling aims at."
  type        = number
  default     = 3000
}

variable "ami_id" {
  description = "An Amazon Linux 2023 image; null for the newest."
  type        = string
  default     = null
}

variable "client_cidrs" {
  description = "IPv4 ranges that may connect."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "alarm_topic_arns" {
  description = "SNS topics of alarms."
  type        = list(string)
  default     = []
}

variable "trial" {
  description = "A trial: `terraform destroy` may remove buckets with what is in them, and the load balancer."
  type        = bool
  default     = false
}
