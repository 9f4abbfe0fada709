variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "blindgate"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "A name has 2 to 24 lower-case letters, digits and hyphens."
  }
}

variable "cidr" {
  description = "IPv4 range of the VPC, /16 to /24."
  type        = string
  default     = "10.64.0.0/20"

  validation {
    condition     = can(cidrhost(var.cidr, 0)) && try(tonumber(split("/", var.cidr)[1]), 0) >= 16 && try(tonumber(split("/", var.cidr)[1]), 99) <= 24
    error_message = "Give a range such as 10.64.0.0/20, from /16 to /24."
  }
}

variable "availability_zones" {
  description = "Two to four availability zones: a load balancer needs two."
  type        = list(string)

  validation {
    condition     = length(var.availability_zones) >= 2 && length(var.availability_zones) <= 4 && length(distinct(var.availability_zones)) == length(var.availability_zones)
    error_message = "Name two to four different availability zones."
  }
}

variable "artifact_bucket_arn" {
  description = "ARN of the bucket of images and releases: besides Amazon Linux's packages, the only bucket that instances reach."
  type        = string
}

variable "kms_fips" {
  description = "Add an endpoint of KMS's FIPS name, for images whose configuration says `[kms] fips = true`."
  type        = bool
  default     = false
}

variable "resource_accounts" {
  description = "Further accounts whose KMS keys, buckets and secrets instances may reach; this account's always."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for account in var.resource_accounts : can(regex("^[0-9]{12}$", account))])
    error_message = "An account is twelve digits."
  }
}

variable "flow_log_days" {
  description = "Days that flow logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.flow_log_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 … days."
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
