variable "alias" {
  description = "Name of the key, without `alias/`."
  type        = string
  default     = "blindgate"

  validation {
    condition     = can(regex("^[A-Za-z0-9/_-]{1,250}$", var.alias)) && !startswith(var.alias, "aws/") && !startswith(var.alias, "alias/")
    error_message = "An alias has letters, digits, /, _ and -, and starts neither with aws/ nor with alias/."
  }
}

variable "pcr_sets" {
  description = "Measurements of the images that may open data, by name: the JSON text that `blindgate image build` or `nitro-cli build-enclave` prints. Two during a blue/green upgrade; empty until the first image is built."
  type        = map(string)
  default     = {}
}

variable "roles" {
  description = "ARNs of the roles whose credentials the enclaves use: `role_arn` of the gateway module."
  type        = list(string)
}

variable "admins" {
  description = "ARNs of the users or roles that manage the key and cannot open anything. Whoever runs Terraform must be among them."
  type        = list(string)
}

variable "owners" {
  description = "ARNs of the users or roles that encrypt for the enclave and cannot decrypt."
  type        = list(string)
  default     = []
}

variable "encryption_context" {
  description = "Pairs that every wrap and unwrap must name; the same as in the image's measured configuration."
  type        = map(string)
  default     = {}
}

variable "deletion_window_in_days" {
  description = "Days between asking for the key's deletion and losing everything that was ever encrypted under it."
  type        = number
  default     = 30

  validation {
    condition     = var.deletion_window_in_days >= 7 && var.deletion_window_in_days <= 30
    error_message = "KMS takes 7 to 30 days."
  }
}

variable "tags" {
  description = "Tags of the key."
  type        = map(string)
  default     = {}
}
