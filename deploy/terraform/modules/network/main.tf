# A VPC whose instances have no way to the internet, in either direction: clients come through the
# load balancer in the public subnets, instances reach AWS through endpoints, and the endpoints serve
# this account's principals only. An attacker on an instance who brings credentials of another account
# can send nothing out through them, neither in a log line nor in a parameter.

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  region = data.aws_region.current.name
  zones  = { for index, zone in var.availability_zones : zone => index }

  # What an instance needs of AWS, and what it may do there: KMS for the enclave, API keys, Logs,
  # Systems Manager for people.
  services = merge(var.kms_fips ? { kms-fips = ["kms:Decrypt"] } : {}, {
    kms            = ["kms:Decrypt"]
    secretsmanager = ["secretsmanager:GetSecretValue"]
    logs           = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
    ssm            = ["ssm:*"]
    ssmmessages    = ["ssmmessages:*"]
    ec2messages    = ["ec2messages:*"]
  })

  account = data.aws_caller_identity.current.account_id

  # Callers of this account, and what belongs to it. IfExists: some requests, such as those that open
  # a session's channels, concern no resource.
  within_the_account = {
    StringEquals         = { "aws:PrincipalAccount" = local.account }
    StringEqualsIfExists = { "aws:ResourceAccount" = concat([local.account], var.resource_accounts) }
  }
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(var.tags, { Name = var.name })
}

# Nothing uses the default group; without rules nothing can by mistake.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-unused" })
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_subnet" "public" {
  for_each = local.zones

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 3, each.value)
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "${var.name}-public-${each.key}" })
}

resource "aws_subnet" "private" {
  for_each = local.zones

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 3, 4 + each.value)
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "${var.name}-private-${each.key}" })
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-public" })
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

# No route but the VPC's own and, through the gateway endpoint, S3's.
resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-private" })
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private.id
}

resource "aws_security_group" "endpoints" {
  name_prefix = "${var.name}-endpoints-"
  description = "AWS endpoints inside the VPC; the gateway module lets its instances in"
  vpc_id      = aws_vpc.this.id
  tags        = merge(var.tags, { Name = "${var.name}-endpoints" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_endpoint" "service" {
  for_each = local.services

  vpc_id              = aws_vpc.this.id
  service_name        = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for subnet in aws_subnet.private : subnet.id]
  security_group_ids  = [aws_security_group.endpoints.id]
  tags                = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

# The private DNS name of the endpoint of KMS is KMS's own, so the enclave's TLS to
# kms.REGION.amazonaws.com, or kms-fips.REGION.amazonaws.com, passes unchanged. All that an enclave does there is Decrypt.
resource "aws_vpc_endpoint_policy" "service" {
  for_each = local.services

  vpc_endpoint_id = aws_vpc_endpoint.service[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "WithinTheAccount"
      Effect    = "Allow"
      Principal = "*"
      Action    = each.value
      Resource  = "*"
      Condition = local.within_the_account
    }]
  })
}

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private.id]
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "ImagesAndReleases"
        Effect    = "Allow"
        Principal = "*"
        Action    = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource  = "${var.artifact_bucket_arn}/*"
        Condition = local.within_the_account
      },
      {
        # Amazon Linux 2023 serves its packages from a bucket of AWS in each Region, to unsigned
        # requests, which no account makes. They can read from there, and send nothing.
        Sid       = "AmazonLinuxPackages"
        Effect    = "Allow"
        Principal = "*"
        Action    = "s3:GetObject"
        Resource  = "arn:${data.aws_partition.current.partition}:s3:::al2023-repos-${local.region}-de612dc2/*"
      },
    ]
  })
  tags = merge(var.tags, { Name = "${var.name}-s3" })
}

resource "aws_cloudwatch_log_group" "flow" {
  #checkov:skip=CKV_AWS_158:CloudWatch Logs encrypts at rest by itself; addresses and ports of connections are no secret of the data owners.
  name              = "/blindgate/${var.name}/flow"
  retention_in_days = var.flow_log_days
  tags              = var.tags
}

resource "aws_iam_role" "flow" {
  name_prefix = "${var.name}-flow-"
  tags        = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  name = "write-flow-logs"
  role = aws_iam_role.flow.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
      Resource = "${aws_cloudwatch_log_group.flow.arn}:*"
    }]
  })
}

resource "aws_flow_log" "this" {
  vpc_id               = aws_vpc.this.id
  traffic_type         = "ALL"
  log_destination_type = "cloud-watch-logs"
  log_destination      = aws_cloudwatch_log_group.flow.arn
  iam_role_arn         = aws_iam_role.flow.arn
  tags                 = merge(var.tags, { Name = var.name })
}
