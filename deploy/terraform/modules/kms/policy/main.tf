# The statements of `blindgate policy write`, for Terraform. tests/deploy compares the two: change
# both or neither. No provider and no resource: this module only computes.

locals {
  image_key = "kms:RecipientAttestation:ImageSha384"

  parsed = {
    for name, text in var.pcr_sets : name => {
      for index, value in try(jsondecode(text).Measurements, jsondecode(text)) :
      index => lower(value) if can(regex("^PCR[0-9]+$", index))
    }
  }

  # No image has this measurement: the policy keeps its shape, and nobody can open anything.
  nobody = { nobody = { for index in range(3) : "PCR${index}" => join("", [for _ in range(96) : "f"]) } }

  sets = length(var.pcr_sets) == 0 ? local.nobody : local.parsed

  context = { for name, value in var.encryption_context : "kms:EncryptionContext:${name}" => value }

  administration = [{
    Sid       = "AdministratorsManageTheKey"
    Effect    = "Allow"
    Principal = { AWS = var.admins }
    Action = [
      "kms:CancelKeyDeletion",
      "kms:CreateAlias",
      "kms:DeleteAlias",
      "kms:DescribeKey",
      "kms:DisableKey",
      "kms:DisableKeyRotation",
      "kms:EnableKey",
      "kms:EnableKeyRotation",
      "kms:GetKeyPolicy",
      "kms:GetKeyRotationStatus",
      "kms:ListGrants",
      "kms:ListKeyPolicies",
      "kms:ListKeyRotations",
      "kms:ListResourceTags",
      "kms:PutKeyPolicy",
      "kms:RevokeGrant",
      "kms:RotateKeyOnDemand",
      "kms:ScheduleKeyDeletion",
      "kms:TagResource",
      "kms:UntagResource",
      "kms:UpdateAlias",
      "kms:UpdateKeyDescription",
    ]
    Resource = "*"
  }]

  # A `for` and not a conditional: the two sides of `?:` would need one type.
  wrapping = [
    for statement in [
      merge(
        {
          Sid       = "DataOwnersWrap"
          Effect    = "Allow"
          Principal = { AWS = var.owners }
          Action    = ["kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"]
          Resource  = "*"
        },
        { for name in ["Condition"] : name => { StringEquals = local.context } if length(local.context) > 0 },
      ),
      {
        Sid       = "DataOwnersFindTheKey"
        Effect    = "Allow"
        Principal = { AWS = var.owners }
        Action    = "kms:DescribeKey"
        Resource  = "*"
      },
    ] : statement if length(var.owners) > 0
  ]

  # One statement a set: several values in one condition would also accept PCR0 of one image with
  # PCR1 of another.
  release = [
    for name, values in local.sets : {
      Sid = join("", concat(["EnclaveOpens"], [
        for word in regexall("[A-Za-z0-9]+", trimsuffix(name, ".json")) :
        "${upper(substr(word, 0, 1))}${substr(word, 1, -1)}"
      ]))
      Effect    = "Allow"
      Principal = { AWS = var.roles }
      Action    = "kms:Decrypt"
      Resource  = "*"
      # IgnoreCase as in AWS's guide: which case KMS presents is not documented.
      Condition = merge(
        {
          StringEqualsIgnoreCase = {
            for index, value in values :
            (index == "PCR0" ? local.image_key : "kms:RecipientAttestation:${index}") => value
          }
        },
        { for name in ["StringEquals"] : name => local.context if length(local.context) > 0 },
      )
    }
  ]

  # An Allow that somebody adds later, an identity policy or a grant cannot get past a Deny.
  opening = ["kms:Decrypt", "kms:ReEncrypt*", "kms:DeriveSharedSecret"]
  denials = [
    {
      Sid       = "DenyOpeningWithoutAttestation"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = local.opening
      Resource  = "*"
      Condition = { Null = { (local.image_key) = "true" } }
    },
    {
      Sid       = "DenyOpeningByOtherImages"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = local.opening
      Resource  = "*"
      Condition = {
        StringNotEqualsIgnoreCase = { (local.image_key) = distinct([for values in local.sets : values["PCR0"]]) }
      }
    },
    {
      Sid       = "DenyOpeningByOtherPrincipals"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = local.opening
      Resource  = "*"
      Condition = { StringNotEquals = { "aws:PrincipalArn" = var.roles } }
    },
    {
      Sid       = "DenyGrantsAndReplicas"
      Effect    = "Deny"
      Principal = { AWS = "*" }
      Action    = ["kms:CreateGrant", "kms:ReplicateKey"]
      Resource  = "*"
    },
  ]
}
