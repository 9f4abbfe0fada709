import java.io.File;
import java.math.BigDecimal;
import java.nio.file.Files;
import java.util.Base64;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.DetectionsApi;
import org.openapitools.client.api.ModelsApi;
import org.openapitools.client.api.OpenInferenceProtocolApi;
import org.openapitools.client.model.Detection;
import org.openapitools.client.model.InferInput;
import org.openapitools.client.model.InferRequest;

/** What a user of the generated client writes. */
public class Detect {
  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    File envelope = new File(arguments[1]);
    DetectionsApi detections = new DetectionsApi(client);
    // The generator's `native` library writes a File into JSON, whatever the media type: so the
    // envelope goes in a form.
    List<Detection> found = detections
        .detectInForm(envelope, new BigDecimal("30"), new BigDecimal("0.4"), null,
            List.of("cup", "dining table"), null)
        .getDetections();
    System.out.println("open=" + names(found.stream().map(Detection::getLabel)));
    String model = new ModelsApi(client).listModels().getModels().get(0).getName();
    InferInput input = new InferInput()
        .name(InferInput.NameEnum.IMAGE)
        .datatype(InferInput.DatatypeEnum.BYTES)
        .shape(List.of(1))
        .data(List.of(Base64.getEncoder().encodeToString(Files.readAllBytes(envelope.toPath()))));
    System.out.println("inferred=" + new OpenInferenceProtocolApi(client)
        .infer(model, new InferRequest().inputs(List.of(input)), null, null)
        .getOutputs().stream().filter(output -> output.getName().equals("labels"))
        .flatMap(output -> output.getData().stream()).collect(Collectors.toSet()));
    File wrong = File.createTempFile("none", "envelope");
    Files.writeString(wrong.toPath(), "no envelope");
    try {
      detections.detectInForm(wrong, null, null, null, null, null);
    } catch (ApiException refused) {
      System.out.println("refused=" + refused.getCode());
    }
  }

  private static Set<String> names(java.util.stream.Stream<String> all) {
    return all.collect(Collectors.toCollection(TreeSet::new));
  }
}
