variable "bucket_name" {
  description = "Name of the bucket."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "log_bucket" {
  description = "Name of the bucket that S3's access logs go to: `log_bucket` of the observability module."
  type        = string
}

variable "noncurrent_days" {
  description = "Days that a replaced image is kept: how far back one can roll."
  type        = number
  default     = 180

  validation {
    condition     = var.noncurrent_days >= 1
    error_message = "At least one day."
  }
}

variable "force_destroy" {
  description = "Let `terraform destroy` remove the bucket with all versions in it. For trials."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
}
