output "vpc_id" {
  description = "Id of the VPC."
  value       = aws_vpc.this.id
}

output "public_subnet_ids" {
  description = "Subnets of the load balancer."
  value       = [for zone in var.availability_zones : aws_subnet.public[zone].id]
}

output "private_subnet_ids" {
  description = "Subnets of the instances, without a way to the internet."
  value       = [for zone in var.availability_zones : aws_subnet.private[zone].id]
}

output "endpoint_security_group_id" {
  description = "Security group of the AWS endpoints."
  value       = aws_security_group.endpoints.id
}

output "s3_prefix_list_id" {
  description = "Prefix list of S3, for egress rules."
  value       = aws_vpc_endpoint.s3.prefix_list_id
}
