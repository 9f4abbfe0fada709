output "role_arn" {
  description = "ARN of the instances' role: `roles` of the kms module."
  value       = aws_iam_role.instance.arn
}

output "dns_name" {
  description = "Name of the load balancer: point your own name's CNAME or alias at it."
  value       = aws_lb.this.dns_name
}

output "zone_id" {
  description = "Hosted zone of the load balancer, for an alias record."
  value       = aws_lb.this.zone_id
}

output "load_balancer_arn_suffix" {
  description = "For CloudWatch metrics of the load balancer."
  value       = aws_lb.this.arn_suffix
}

output "target_group_arn_suffix" {
  description = "For CloudWatch metrics of the target group."
  value       = aws_lb_target_group.gateway.arn_suffix
}

output "target_group_arn" {
  description = "ARN of the target group, to ask for the health of instances."
  value       = aws_lb_target_group.gateway.arn
}

output "autoscaling_groups" {
  description = "Name of each fleet's auto scaling group."
  value       = { for name, group in aws_autoscaling_group.fleet : name => group.name }
}

output "instance_security_group_id" {
  description = "Security group of the instances."
  value       = aws_security_group.instance.id
}

output "api_keys_secret_arn" {
  description = "Secret that holds digests of API keys: `blindgate keys create --secret`."
  value       = aws_secretsmanager_secret.api_keys.arn
}
