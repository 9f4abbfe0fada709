# What an instance may do. Nothing of KMS: the right to Decrypt comes from the key policy alone, and
# only with an attestation document of a listed image.

resource "aws_iam_role" "instance" {
  name = "${var.name}-instance"
  tags = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_instance_profile" "instance" {
  name = "${var.name}-instance"
  role = aws_iam_role.instance.name
  tags = var.tags
}

# Sessions of Systems Manager instead of SSH: the actions that its guide lists for them. AWS's own
# AmazonSSMManagedInstanceCore would also read every parameter of the account.
resource "aws_iam_role_policy" "sessions" {
  #checkov:skip=CKV_AWS_290:The actions of ssmmessages take no resource; each opens channels of the instance that calls.
  #checkov:skip=CKV_AWS_355:The actions of ssmmessages take no resource; each opens channels of the instance that calls.
  name = "sessions-of-systems-manager"
  role = aws_iam_role.instance.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "Sessions"
      Effect = "Allow"
      Action = [
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ]
      Resource = "*"
    }]
  })
}

resource "aws_iam_role_policy" "instance" {
  name = "fetch-images-write-logs"
  role = aws_iam_role.instance.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "FetchImagesAndReleases"
        Effect   = "Allow"
        Action   = "s3:GetObjectVersion"
        Resource = "${var.artifact_bucket_arn}/*"
      },
      {
        Sid      = "ReadApiKeys"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = aws_secretsmanager_secret.api_keys.arn
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = "${var.log_group_arn}:*"
      },
    ]
  })
}

# Who may call: digests of API keys, as `blindgate keys` writes them. Terraform makes the secret and
# never its value, so no state file holds it.
resource "aws_secretsmanager_secret" "api_keys" {
  #checkov:skip=CKV_AWS_149:Encrypted with the account's own key for secrets. A customer key would oblige the instances' role to hold kms:Decrypt; and the value is digests, not keys.
  #checkov:skip=CKV2_AWS_57:Each API key has its own end (blindgate keys create --expires); rotating all of them at once would lock callers out.
  name_prefix             = "${var.name}-api-keys-"
  description             = "API keys of Blindgate's callers, as digests"
  recovery_window_in_days = var.deletion_protection ? 30 : 0
  tags                    = var.tags
}
