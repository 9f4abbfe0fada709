variable "name" {
  description = "Prefix of all names."
  type        = string
  default     = "blindgate"
}

variable "log_bucket_name" {
  description = "Name of the bucket for access logs of the load balancer and of the artifact bucket."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.log_bucket_name))
    error_message = "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."
  }
}

variable "log_days" {
  description = "Days that the gateways' logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_days)
    error_message = "CloudWatch Logs keeps logs for 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731 … days."
  }
}

variable "log_kms_key_arn" {
  description = "A key of yours for the log group, whose policy lets CloudWatch Logs use it. Null for CloudWatch's own."
  type        = string
  default     = null
}

variable "load_balancer_arn_suffix" {
  description = "`load_balancer_arn_suffix` of the gateway module."
  type        = string
}

variable "target_group_arn_suffix" {
  description = "`target_group_arn_suffix` of the gateway module."
  type        = string
}

variable "key_arn" {
  description = "ARN of the key whose policy is watched: `key_arn` of the kms module."
  type        = string
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms and changes of the key go to. Their policies must let cloudwatch.amazonaws.com and events.amazonaws.com publish."
  type        = list(string)
  default     = []
}

variable "slow_seconds" {
  description = "Seconds that the slowest hundredth of answers may take before an alarm."
  type        = number
  default     = 5

  validation {
    condition     = var.slow_seconds > 0
    error_message = "More than zero."
  }
}

variable "force_destroy" {
  description = "Let `terraform destroy` remove the log bucket with all logs in it. For trials."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
