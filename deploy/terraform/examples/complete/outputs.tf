output "dns_name" {
  description = "Point your name at this one."
  value       = module.gateway.dns_name
}

output "key_arn" {
  description = "Pin this as `kms.key_arns` in enclave.toml."
  value       = module.kms.key_arn
}

output "key_alias" {
  description = "What data owners encrypt under."
  value       = module.kms.alias
}

output "key_policy" {
  description = "The key policy, for `blindgate policy lint`."
  value       = module.kms.policy_json
}

output "artifact_bucket" {
  description = "Where `deploy/publish.py` uploads to."
  value       = module.artifacts.bucket
}

output "role_arn" {
  description = "Role of the instances."
  value       = module.gateway.role_arn
}

output "target_group_arn" {
  description = "To ask for the health of instances."
  value       = module.gateway.target_group_arn
}

output "autoscaling_groups" {
  description = "Name of each fleet's auto scaling group."
  value       = module.gateway.autoscaling_groups
}

output "alarms" {
  description = "Names of all alarms."
  value       = module.observability.alarms
}

output "api_keys_secret" {
  description = "Secret that holds digests of API keys: `blindgate keys create --secret`."
  value       = module.gateway.api_keys_secret_arn
}
