mock_provider "aws" {}

variables {
  roles  = ["arn:aws:iam::111122223333:role/blindgate-instance"]
  admins = ["arn:aws:iam::111122223333:role/admin"]
  owners = ["arn:aws:iam::111122223333:role/owner"]
  pcr_sets = {
    blue  = "{\"Measurements\":{\"HashAlgorithm\":\"Sha384 { ... }\",\"PCR0\":\"111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\",\"PCR1\":\"111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\",\"PCR2\":\"111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\"}}"
    green = "{\"PCR0\":\"222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222222\",\"PCR1\":\"111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\",\"PCR2\":\"111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111\"}"
  }
}

run "each_image_has_a_statement_of_its_own" {
  command = plan

  assert {
    condition = [
      for statement in jsondecode(aws_kms_key.this.policy).Statement :
      statement.Condition.StringEqualsIgnoreCase["kms:RecipientAttestation:ImageSha384"]
      if statement.Effect == "Allow" && flatten([statement.Action])[0] == "kms:Decrypt"
    ] == values(output.images)
    error_message = "Images and statements differ."
  }
}

run "the_account_root_is_not_named" {
  command = plan

  assert {
    condition     = !strcontains(aws_kms_key.this.policy, ":root")
    error_message = "Identity policies of the account would reach the key."
  }
}

run "the_key_rotates_and_has_no_replicas" {
  command = plan

  assert {
    condition     = aws_kms_key.this.enable_key_rotation && !aws_kms_key.this.multi_region && !aws_kms_key.this.bypass_policy_lockout_safety_check
    error_message = "The key is made otherwise."
  }
}

run "aws_aliases_are_refused" {
  command = plan

  variables {
    alias = "aws/s3"
  }

  expect_failures = [var.alias]
}

run "a_key_cannot_vanish_within_days" {
  command = plan

  variables {
    deletion_window_in_days = 1
  }

  expect_failures = [var.deletion_window_in_days]
}
