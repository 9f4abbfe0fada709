variable "pcr_sets" {
  description = "Measurements of the images that may open data, by name: the JSON text that `blindgate image build` or `nitro-cli build-enclave` prints. Two during a blue/green upgrade. While it is empty nobody can open anything: the key is needed before the first image can name it."
  type        = map(string)
  default     = {}

  validation {
    condition = alltrue([
      for text in values(var.pcr_sets) : alltrue([
        for index in distinct(concat(["PCR0", "PCR1", "PCR2"], [
          for key in keys(try(jsondecode(text).Measurements, jsondecode(text), {})) :
          key if can(regex("^PCR[0-9]+$", key))
        ])) :
        can(regex("^[0-9a-fA-F]{96}$", try(jsondecode(text).Measurements[index], jsondecode(text)[index])))
      ])
    ])
    error_message = "Every set needs PCR0, PCR1 and PCR2, and every PCR in it 96 hexadecimal digits, as JSON text: flat, or under \"Measurements\"."
  }

  validation {
    condition = alltrue([
      for text in values(var.pcr_sets) : alltrue([
        for index in ["PCR0", "PCR1", "PCR2"] : !can(regex("^0+$",
        try(jsondecode(text).Measurements[index], jsondecode(text)[index])))
      ])
    ])
    error_message = "PCR0, PCR1 or PCR2 is all zero, as in every enclave in debug mode, whose console its parent can read."
  }

  validation {
    condition = length(var.pcr_sets) == length(distinct([
      for name in keys(var.pcr_sets) : lower(join("", regexall("[A-Za-z0-9]+", name)))
    ]))
    error_message = "Names of sets must differ in their letters and digits: statement ids are made of them."
  }
}

variable "roles" {
  description = "ARNs of the roles whose credentials the enclaves use: the instances' role. They get Decrypt from this key policy alone, and only with an attestation document of a listed image."
  type        = list(string)

  validation {
    condition     = length(var.roles) > 0 && alltrue([for arn in var.roles : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+$", arn))])
    error_message = "Name at least one role as arn:aws:iam::ACCOUNT:role/NAME. Wildcards, sessions and the account root are not allowed."
  }
}

variable "admins" {
  description = "ARNs of the users or roles that manage the key: replace its policy, disable or delete it. They cannot open anything. Whoever runs Terraform must be among them, or KMS refuses a policy that would lock its author out."
  type        = list(string)

  validation {
    condition     = length(var.admins) > 0 && alltrue([for arn in var.admins : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+$", arn))])
    error_message = "Name at least one administrator as arn:aws:iam::ACCOUNT:role/NAME. Wildcards, sessions and the account root are not allowed."
  }

  validation {
    condition     = length(setintersection(var.admins, var.roles)) == 0
    error_message = "One ARN is both the enclave's role and an administrator: the parent instance could replace the policy and then open everything."
  }
}

variable "owners" {
  description = "ARNs of the users or roles that encrypt for the enclave. They cannot decrypt."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.owners : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+$", arn))])
    error_message = "Name data owners as arn:aws:iam::ACCOUNT:role/NAME. Wildcards, sessions and the account root are not allowed."
  }
}

variable "encryption_context" {
  description = "Pairs that every wrap and unwrap must name. Files of the AWS sample carry none and cannot be opened under such a policy."
  type        = map(string)
  default     = {}
}
