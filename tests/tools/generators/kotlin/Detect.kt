import java.io.File
import org.openapitools.client.apis.DetectionsApi
import org.openapitools.client.apis.ModelsApi
import org.openapitools.client.apis.OpenInferenceProtocolApi
import org.openapitools.client.infrastructure.ClientException
import org.openapitools.client.models.InferInput
import org.openapitools.client.models.InferRequest

fun main(arguments: Array<String>) {
    val (gateway, path) = arguments
    val envelope = File(path)
    val detections = DetectionsApi(gateway)
    println("open=" + detections.detect(envelope, minScore = java.math.BigDecimal("0.4"),
        classes = listOf("cup", "dining table")).detections.map { it.label }.toSet())
    println("form=" + detections.detectInForm(envelope).detections.map { it.label }.toSet())
    println("sample=" + detections.detectAsSample(envelope).objectsDetected.map { it.name }.toSet())
    val model = ModelsApi(gateway).listModels().models.first().name
    val data = java.util.Base64.getEncoder().encodeToString(envelope.readBytes())
    val input = InferInput(InferInput.Name.image, InferInput.Datatype.BYTES, listOf(1),
        data = listOf(data))
    val outputs = OpenInferenceProtocolApi(gateway).infer(model, InferRequest(listOf(input))).outputs
    println("inferred=" + outputs.first { it.name == "labels" }.`data`!!.toSet())
    try {
        detections.detect(File.createTempFile("none", "envelope").apply { writeText("no envelope") })
    } catch (refused: ClientException) {
        println("refused=" + refused.statusCode)
    }
}
