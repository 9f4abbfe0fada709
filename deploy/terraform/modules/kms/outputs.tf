output "key_arn" {
  description = "ARN of the key: pin it as `kms.key_arns` in the image's measured configuration."
  value       = aws_kms_key.this.arn
}

output "key_id" {
  description = "Id of the key."
  value       = aws_kms_key.this.key_id
}

output "alias" {
  description = "The alias, as data owners name the key."
  value       = aws_kms_alias.this.name
}

output "policy_json" {
  description = "The key policy, for `blindgate policy lint`."
  value       = module.policy.json
}

output "images" {
  description = "PCR0 of every image that may open data, by set."
  value       = module.policy.images
}
