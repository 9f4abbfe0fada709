/**
 * What generated Kotlin clients use of OkHttp, which no registry of this project has: on Java's own
 * HTTP client. It is here to compile and run what the generator makes, and for nothing else.
 */
package okhttp3

import java.io.ByteArrayInputStream
import java.io.ByteArrayOutputStream
import java.io.Closeable
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.net.URI
import java.net.URLEncoder
import java.net.http.HttpClient
import java.net.http.HttpRequest
import java.net.http.HttpResponse

class MediaType(val text: String) {
    override fun toString(): String = text

    companion object {
        fun String.toMediaTypeOrNull(): MediaType? = MediaType(this)
    }
}

class Headers(val lines: List<Pair<String, String>>) {
    fun toMultimap(): Map<String, List<String>> = lines.groupBy({ it.first.lowercase() }, { it.second })

    class Builder {
        private val lines = mutableListOf<Pair<String, String>>()
        fun add(name: String, value: String): Builder = apply { lines += name to value }
        fun build(): Headers = Headers(lines.toList())
    }

    companion object {
        fun Map<String, String>.toHeaders(): Headers = Headers(toList())
    }
}

class HttpUrl(val text: String) {
    val encodedPathSegments: List<String> get() = URI(text).rawPath.trimStart('/').split("/")

    fun newBuilder(): Builder = Builder(text)

    class Builder(private var text: String = "") {
        private val query = mutableListOf<String>()
        fun scheme(scheme: String): Builder = apply { text = "$scheme://" }
        fun host(host: String): Builder = apply { text += host }
        fun addPathSegment(segment: String): Builder =
            apply { text += "/" + URLEncoder.encode(segment, "UTF-8").replace("+", "%20") }
        fun addEncodedPathSegments(path: String): Builder =
            apply { text = text.trimEnd('/') + "/" + path }
        fun addQueryParameter(name: String, value: String?): Builder =
            apply { query += "$name=" + URLEncoder.encode(value.orEmpty(), "UTF-8") }
        fun build(): HttpUrl =
            HttpUrl(if (query.isEmpty()) text else text + "?" + query.joinToString("&"))
    }

    companion object {
        fun String.toHttpUrlOrNull(): HttpUrl? = HttpUrl(this)
    }
}

open class RequestBody(val type: MediaType?, val content: ByteArray) {
    companion object {
        fun ByteArray.toRequestBody(type: MediaType? = null): RequestBody = RequestBody(type, this)
        fun String.toRequestBody(type: MediaType? = null): RequestBody =
            RequestBody(type, toByteArray())
        fun File.asRequestBody(type: MediaType? = null): RequestBody =
            RequestBody(type, readBytes())
    }
}

class FormBody private constructor(text: String) :
    RequestBody(MediaType("application/x-www-form-urlencoded"), text.toByteArray()) {
    class Builder {
        private val fields = mutableListOf<String>()
        fun add(name: String, value: String): Builder =
            apply { fields += "$name=" + URLEncoder.encode(value, "UTF-8") }
        fun build(): FormBody = FormBody(fields.joinToString("&"))
    }
}

class MultipartBody private constructor(type: MediaType, content: ByteArray) :
    RequestBody(type, content) {
    class Builder {
        private val content = ByteArrayOutputStream()
        fun setType(type: MediaType): Builder = apply { check(type === FORM) }
        fun addPart(headers: Headers, body: RequestBody): Builder = apply {
            val lines = headers.lines + listOfNotNull(body.type?.let { "Content-Type" to it.text })
            content.write("--$BOUNDARY\r\n".toByteArray())
            lines.forEach { content.write("${it.first}: ${it.second}\r\n".toByteArray()) }
            content.write("\r\n".toByteArray() + body.content + "\r\n".toByteArray())
        }
        fun build(): MultipartBody {
            content.write("--$BOUNDARY--\r\n".toByteArray())
            return MultipartBody(
                MediaType("multipart/form-data; boundary=$BOUNDARY"), content.toByteArray())
        }
    }

    companion object {
        private const val BOUNDARY = "3c1e0f4c9d3b4b0e"
        val FORM: MediaType = MediaType("multipart/form-data")
    }
}

class Request(
    val url: HttpUrl, val method: String, val headers: Headers, val body: RequestBody?
) {
    class Builder {
        private var url = HttpUrl("")
        private var method = "GET"
        private var headers = Headers(emptyList())
        private var body: RequestBody? = null
        fun url(url: HttpUrl): Builder = apply { this.url = url }
        fun headers(headers: Headers): Builder = apply { this.headers = headers }
        fun method(method: String, body: RequestBody?): Builder =
            apply { this.method = method; this.body = body }
        fun head(): Builder = method("HEAD", null)
        fun delete(body: RequestBody?): Builder = method("DELETE", body)
        fun patch(body: RequestBody): Builder = method("PATCH", body)
        fun put(body: RequestBody): Builder = method("PUT", body)
        fun post(body: RequestBody): Builder = method("POST", body)
        fun build(): Request = Request(url, method, headers, body)
    }
}

class ResponseBody(private val content: ByteArray) {
    fun bytes(): ByteArray = content
    fun string(): String = content.toString(Charsets.UTF_8)
    fun byteStream(): InputStream = ByteArrayInputStream(content)
}

class Response(val code: Int, val headers: Headers, val body: ResponseBody?) : Closeable {
    val message: String = ""
    val isSuccessful: Boolean get() = code in 200..299
    fun header(name: String): String? =
        headers.lines.firstOrNull { it.first.equals(name, ignoreCase = true) }?.second
    override fun close() = Unit
}

interface Callback {
    fun onFailure(call: Call, e: IOException)
    fun onResponse(call: Call, response: Response)
}

interface Call {
    fun execute(): Response

    interface Factory {
        fun newCall(request: Request): Call
    }
}

class OkHttpClient : Call.Factory {
    private val client = HttpClient.newHttpClient()

    override fun newCall(request: Request): Call = object : Call {
        override fun execute(): Response {
            val body = request.body
            val publisher =
                if (body == null) HttpRequest.BodyPublishers.noBody()
                else HttpRequest.BodyPublishers.ofByteArray(body.content)
            val builder = HttpRequest.newBuilder(URI(request.url.text))
            request.headers.lines
                .filter { body?.type == null || !it.first.equals("content-type", true) }
                .forEach { builder.header(it.first, it.second) }
            body?.type?.let { builder.header("Content-Type", it.text) }
            val answer = client.send(
                builder.method(request.method, publisher).build(),
                HttpResponse.BodyHandlers.ofByteArray())
            val lines = answer.headers().map().flatMap { (name, all) -> all.map { name to it } }
            return Response(answer.statusCode(), Headers(lines), ResponseBody(answer.body()))
        }
    }

    class Builder {
        fun build(): OkHttpClient = OkHttpClient()
    }
}
