# The key under which data owners wrap data keys and measured enclaves unwrap them.

module "policy" {
  source = "./policy"

  pcr_sets           = var.pcr_sets
  roles              = var.roles
  admins             = var.admins
  owners             = var.owners
  encryption_context = var.encryption_context
}

resource "aws_kms_key" "this" {
  #checkov:skip=CKV2_AWS_64:The policy is there, computed by the policy module; checkov does not follow a module's output.
  description             = "Blindgate: opened by attested enclaves only"
  policy                  = module.policy.json
  enable_key_rotation     = true
  deletion_window_in_days = var.deletion_window_in_days
  tags                    = var.tags

  # Never true: it would let the policy lock out those who apply it.
  bypass_policy_lockout_safety_check = false
  # A replica would have a key policy of its own.
  multi_region = false
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.alias}"
  target_key_id = aws_kms_key.this.key_id
}
