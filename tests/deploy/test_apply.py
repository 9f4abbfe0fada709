"""`terraform apply`, an upgrade and `destroy` of the complete example, against a local moto server.

moto keeps what it is told and answers like AWS, but evaluates no policy and starts nothing: what is
shown here is what AWS would be told.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings
from tests.deploy import terraform as tf
from tests.deploy.moto_server import ACCOUNT, REGION, Aws, serving

ADMIN = f"arn:aws:iam::{ACCOUNT}:role/admin"
OWNER = f"arn:aws:iam::{ACCOUNT}:role/owner"

# moto has one address for all services, so buckets cannot be part of a host name.
OVERRIDE = """
provider "aws" {
  s3_use_path_style           = true
  skip_credentials_validation = true
}
"""

# moto starts no instance that could become healthy, so nothing is waited for. It gives back other
# tag specifications than it was given, and cannot start the instance refresh that such a change
# would ask for.
GATEWAY_OVERRIDE = """
resource "aws_autoscaling_group" "fleet" {
  wait_for_elb_capacity     = 0
  wait_for_capacity_timeout = "0"
}

resource "aws_launch_template" "fleet" {
  lifecycle {
    ignore_changes = [tag_specifications]
  }
}
"""


class Deployment:
    """The complete example in a folder of its own, and what it is told."""

    def __init__(self, aws: Aws, terraform: tf.Terraform) -> None:
        self.aws = aws
        self.terraform = terraform
        certificate = aws.client("acm").request_certificate(DomainName="images.example.com")
        self.variables: dict[str, Any] = {
            "certificate_arn": certificate["CertificateArn"],
            "admins": [ADMIN],
            "owners": [OWNER],
            "alarm_topic_arns": [f"arn:aws:sns:{REGION}:{ACCOUNT}:alarms"],
            "trial": True,
        }

    def apply(self, **variables: Any) -> None:
        self.variables |= variables
        path = self.terraform.folder / "test.auto.tfvars.json"
        path.write_text(json.dumps(self.variables))
        # Most of the time is spent waiting between polls, so many resources at once.
        self.terraform(
            *("apply", "-auto-approve", "-no-color", "-input=false", "-parallelism=40"),
            seconds=400,
        )

    def output(self, name: str) -> Any:
        return json.loads(self.terraform("output", "-json", name))

    def measurements(self, name: str, digit: str) -> str:
        path = self.terraform.folder / f"{name}.json"
        path.write_text(json.dumps({f"PCR{index}": digit * 96 for index in range(3)}))
        return str(path)

    def publish(self, name: str) -> Any:
        """Upload an image and a release as an operator does, and give the fleet's entry."""
        eif, release = self.terraform.folder / "b.eif", self.terraform.folder / "r.tar.gz"
        eif.write_text(f"image {name}")
        release.write_text(f"release {name}")
        needs = {"architecture": "x86_64", "memory_mib": 2048, "cpus": 2}
        about = {"eif_sha256": hashlib.sha256(eif.read_bytes()).hexdigest()}
        eif.with_suffix(".requirements.json").write_text(json.dumps({**needs, **about}))
        command = [sys.executable, str(tf.ROOT / "deploy/publish.py"), "--min", "1", "--max", "3"]
        command += ["--bucket", self.output("artifact_bucket")]
        command += ["--eif", str(eif), "--release", str(release)]
        # moto reads a Deny without its condition (TLS): to moto this one denies everything.
        self.aws.client("s3").delete_bucket_policy(Bucket=self.output("artifact_bucket"))
        done = subprocess.run(
            command,
            env={"PATH": "/usr/bin:/bin", **dict(self.aws.environment)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def key_policy(self) -> dict[str, dict[str, Any]]:
        arn = self.output("key_arn")
        text = self.aws.client("kms").get_key_policy(KeyId=arn, PolicyName="default")["Policy"]
        return {each["Sid"]: each for each in json.loads(text)["Statement"]}


@pytest.fixture(scope="module")
def deployment(
    tools: Path, plugins: Path, program: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Deployment]:
    """The first deployment: everything, a first image, its fleet."""
    place = tmp_path_factory.mktemp("apply")
    shutil.copytree(tf.SOURCES, place / "terraform")
    folder = place / "terraform" / "examples" / "complete"
    (folder / "main_override.tf").write_text(OVERRIDE)
    gateway = place / "terraform" / "modules" / "gateway"
    (gateway / "main_override.tf").write_text(GATEWAY_OVERRIDE)
    with serving(tools / "moto_server", place / "moto.log") as aws:
        deployment = Deployment(aws, tf.Terraform(program, folder, plugins, aws.environment))
        deployment.terraform.init()
        deployment.apply()
        yield deployment


@pytest.fixture(scope="module")
def blue(deployment: Deployment) -> Deployment:
    """The first image runs."""
    deployment.apply(
        pcr_files={"blue": deployment.measurements("blue", "1")},
        fleets={"blue": deployment.publish("blue")},
    )
    return deployment


@pytest.mark.timeout(600)
def test_before_the_first_image_there_is_a_key_that_opens_nothing(deployment: Deployment) -> None:
    assert deployment.output("autoscaling_groups") == {}
    policy = deployment.key_policy()
    condition = policy["EnclaveOpensNobody"]["Condition"]["StringEqualsIgnoreCase"]
    assert condition["kms:RecipientAttestation:ImageSha384"] == "f" * 96


@pytest.mark.timeout(600)
class TestTheFirstFleet:
    def launch_template(self, deployment: Deployment, fleet: str = "blue") -> Any:
        ec2 = deployment.aws.client("ec2")
        found = ec2.describe_launch_template_versions(
            LaunchTemplateId=self.group(deployment, fleet)["LaunchTemplate"]["LaunchTemplateId"],
            Versions=["$Latest"],
        )
        return found["LaunchTemplateVersions"][0]["LaunchTemplateData"]

    def group(self, deployment: Deployment, fleet: str = "blue") -> Any:
        name = deployment.output("autoscaling_groups")[fleet]
        autoscaling = deployment.aws.client("autoscaling")
        return autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])[
            "AutoScalingGroups"
        ][0]

    def test_instances_may_hold_enclaves(self, blue: Deployment) -> None:
        assert self.launch_template(blue)["EnclaveOptions"] == {"Enabled": True}

    def test_load_sets_the_number_of_instances_and_an_apply_does_not(
        self, blue: Deployment
    ) -> None:
        group = self.group(blue)
        assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (1, 3, 1)
        autoscaling = blue.aws.client("autoscaling")
        name = group["AutoScalingGroupName"]
        (policy,) = autoscaling.describe_policies(AutoScalingGroupName=name)["ScalingPolicies"]
        tracking = policy["TargetTrackingConfiguration"]
        assert policy["PolicyType"] == "TargetTrackingScaling"
        assert tracking["TargetValue"] == 3000
        metric = tracking["PredefinedMetricSpecification"]
        assert metric["PredefinedMetricType"] == "ALBRequestCountPerTarget"
        assert metric["ResourceLabel"].startswith("app/blindgate/")
        assert blue.output("target_group_arn").endswith(
            metric["ResourceLabel"][metric["ResourceLabel"].index("targetgroup/") :]
        )
        autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=3)
        blue.apply()
        assert self.group(blue)["DesiredCapacity"] == 3
        autoscaling.set_desired_capacity(AutoScalingGroupName=name, DesiredCapacity=1)

    def test_metadata_needs_a_token_and_stays_on_the_instance(self, blue: Deployment) -> None:
        options = self.launch_template(blue)["MetadataOptions"]
        assert options["HttpTokens"] == "required"
        assert options["HttpPutResponseHopLimit"] == 1

    def test_there_is_no_way_in_for_ssh(self, blue: Deployment) -> None:
        template = self.launch_template(blue)
        assert "KeyName" not in template
        assert template["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False

    def test_only_port_443_is_open_to_addresses(self, blue: Deployment) -> None:
        rules = [
            rule
            for group in blue.aws.client("ec2").describe_security_groups()["SecurityGroups"]
            # The default VPC's own group was there before us.
            if group["VpcId"] == self.vpc(blue)
            for rule in group["IpPermissions"]
        ]
        open_to_addresses = [rule for rule in rules if rule["IpRanges"] or rule["Ipv6Ranges"]]
        assert [(rule["FromPort"], rule["ToPort"]) for rule in open_to_addresses] == [(443, 443)]
        between_groups = [rule for rule in rules if rule not in open_to_addresses]
        assert sorted(rule["FromPort"] for rule in between_groups) == [443, 8080]

    def vpc(self, deployment: Deployment) -> str:
        subnets = self.group(deployment)["VPCZoneIdentifier"].split(",")
        ec2 = deployment.aws.client("ec2")
        return str(ec2.describe_subnets(SubnetIds=subnets)["Subnets"][0]["VpcId"])

    def test_instances_have_no_route_to_the_internet(self, blue: Deployment) -> None:
        ec2 = blue.aws.client("ec2")
        for subnet in self.group(blue)["VPCZoneIdentifier"].split(","):
            named = [{"Name": "association.subnet-id", "Values": [subnet]}]
            (table,) = ec2.describe_route_tables(Filters=named)["RouteTables"]
            assert {route["GatewayId"] for route in table["Routes"] if "GatewayId" in route} <= {
                "local",
                *(r["GatewayId"] for r in table["Routes"] if r.get("GatewayId", "")[:5] == "vpce-"),
            }
            assert "0.0.0.0/0" not in {r.get("DestinationCidrBlock") for r in table["Routes"]}

    def test_the_instances_role_has_no_right_of_kms(self, blue: Deployment) -> None:
        iam = blue.aws.client("iam")
        name = blue.output("role_arn").rsplit("/", 1)[-1]
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        assert attached == []
        inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
        actions = [
            action
            for each in inline
            for statement in iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"][
                "Statement"
            ]
            for action in (
                [statement["Action"]]
                if isinstance(statement["Action"], str)
                else statement["Action"]
            )
        ]
        assert actions
        assert not [action for action in actions if action.startswith(("kms:", "*"))]
        # Sessions, and no parameter of the account.
        assert [each for each in sorted(actions) if each.startswith("ssm:")] == [
            "ssm:UpdateInstanceInformation"
        ]

    def test_the_key_policy_demands_the_attestation(self, blue: Deployment) -> None:
        policy = blue.key_policy()
        release = policy["EnclaveOpensBlue"]
        assert release["Principal"]["AWS"] in (blue.output("role_arn"), [blue.output("role_arn")])
        assert release["Condition"] == {
            "StringEquals": {"kms:EncryptionContext:purpose": "blindgate"},
            "StringEqualsIgnoreCase": {
                "kms:RecipientAttestation:ImageSha384": "1" * 96,
                "kms:RecipientAttestation:PCR1": "1" * 96,
                "kms:RecipientAttestation:PCR2": "1" * 96,
            },
        }
        assert policy["DenyOpeningWithoutAttestation"]["Effect"] == "Deny"
        allowed = [each for each in policy.values() if each["Effect"] == "Allow"]
        opening = [each["Sid"] for each in allowed if "kms:Decrypt" in str(each["Action"])]
        assert opening == ["EnclaveOpensBlue"]

    def test_user_data_pins_what_it_fetches_and_holds_no_secret(self, blue: Deployment) -> None:
        text = base64.b64decode(self.launch_template(blue)["UserData"]).decode()
        fleet = blue.variables["fleets"]["blue"]
        for file in (fleet["eif"], fleet["release"]):
            assert file["version_id"] in text
            assert file["sha256"] in text
        assert "BLINDGATE_ENCLAVES=vsock://16:5005" in text
        assert f"BLINDGATE_API_KEYS_SECRET={blue.output('api_keys_secret')}" in text
        for word in ("password", "secret_access", "aws_access_key", "private key", "begin "):
            assert word not in text.lower()

    def test_user_data_is_a_script_that_bash_can_read(
        self, blue: Deployment, tmp_path: Path
    ) -> None:
        script = tmp_path / "user-data.sh"
        script.write_bytes(base64.b64decode(self.launch_template(blue)["UserData"]))
        # EC2 takes 16 KiB.
        assert script.stat().st_size < 16 * 1024
        done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")

    def test_the_gateway_takes_the_settings_that_it_is_given(
        self, blue: Deployment, tmp_path: Path
    ) -> None:
        text = base64.b64decode(self.launch_template(blue)["UserData"]).decode()
        block = text.split("<<'ENVIRONMENT'\n")[1].split("\nENVIRONMENT")[0]
        given = dict(line.split("=", 1) for line in block.splitlines())
        names = {name.removeprefix("BLINDGATE_").lower() for name in given if name[:4] != "AWS_"}
        assert names <= set(Settings.model_fields)
        values = {name: value for name, value in given.items() if name[:4] != "AWS_"}
        with pytest.MonkeyPatch.context() as patch:
            for name, value in values.items():
                patch.setenv(name, value)
            settings = Settings()
        assert settings.enclaves == ("vsock://16:5005",)
        assert settings.pcrs == (Path("/etc/blindgate/pcrs/blue.json"),)
        assert not settings.allow_debug

    def test_api_keys_are_in_a_secret_whose_value_terraform_never_sees(
        self, blue: Deployment
    ) -> None:
        secrets = blue.aws.client("secretsmanager")
        found = secrets.describe_secret(SecretId=blue.output("api_keys_secret"))
        assert not found.get("VersionIdsToStages")

    def test_tls_ends_at_the_load_balancer_with_a_modern_policy(self, blue: Deployment) -> None:
        elb = blue.aws.client("elbv2")
        (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
        arn = balancer["LoadBalancerArn"]
        (listener,) = elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        assert (listener["Port"], listener["Protocol"]) == (443, "HTTPS")
        assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
        (group,) = elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
        assert group["HealthCheckPath"] == "/readyz"

    def test_images_are_versioned_encrypted_and_private(self, blue: Deployment) -> None:
        s3, bucket = blue.aws.client("s3"), blue.output("artifact_bucket")
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        assert rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
        access = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
        assert set(access.values()) == {True}

    def test_somebody_is_told_when_the_key_changes(self, blue: Deployment) -> None:
        events = blue.aws.client("events")
        (rule,) = events.list_rules()["Rules"]
        pattern = json.loads(rule["EventPattern"])
        assert "PutKeyPolicy" in pattern["detail"]["eventName"]
        assert pattern["detail"]["resources"]["ARN"] == [blue.output("key_arn")]
        assert events.list_targets_by_rule(Rule=rule["Name"])["Targets"]


@pytest.mark.timeout(600)
def test_an_upgrade_goes_through_both_and_back_to_one(blue: Deployment) -> None:
    fleets = blue.variables["fleets"]
    files = blue.variables["pcr_files"]
    green_file = blue.measurements("green", "2")

    blue.apply(pcr_files={**files, "green": green_file})
    policy = blue.key_policy()
    assert {"EnclaveOpensBlue", "EnclaveOpensGreen"} <= policy.keys()
    # moto cannot start an instance refresh, so this apply would have failed had blue changed.

    blue.apply(fleets={**fleets, "green": blue.publish("green")})
    assert set(blue.output("autoscaling_groups")) == {"blue", "green"}

    blue.apply(fleets={"green": blue.variables["fleets"]["green"]})
    assert set(blue.output("autoscaling_groups")) == {"green"}

    blue.apply(pcr_files={"green": green_file})
    policy = blue.key_policy()
    assert "EnclaveOpensBlue" not in policy
    others = policy["DenyOpeningByOtherImages"]["Condition"]["StringNotEqualsIgnoreCase"]
    assert others["kms:RecipientAttestation:ImageSha384"] in ("2" * 96, ["2" * 96])


@pytest.mark.timeout(600)
def test_destroy_leaves_nothing_behind(blue: Deployment) -> None:
    blue.aws.client("s3").delete_bucket_policy(Bucket=blue.output("artifact_bucket"))
    blue.terraform(
        *("destroy", "-auto-approve", "-no-color", "-input=false", "-parallelism=40"), seconds=400
    )
    assert blue.terraform("state", "list") == ""
    assert blue.aws.client("s3").list_buckets()["Buckets"] == []
    assert blue.aws.client("elbv2").describe_load_balancers()["LoadBalancers"] == []
